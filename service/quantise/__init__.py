"""`gemmule quantize`: a model with its matrices in other types, as one GGUF file. Computes nothing with it."""
