"""GGUF files: a memory-mapped reader that trusts no header. Knows no model and no tokenizer."""
