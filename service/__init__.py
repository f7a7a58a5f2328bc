"""The service: a model file in, completions over HTTP out. Knows no instruction set."""
