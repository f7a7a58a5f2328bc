"""Output that must match a grammar: what is asked for -> a mask before each token. Knows no request and no step."""
