"""A model file as something that runs: architecture -> program, packed weights, KV cache. Knows no request."""
