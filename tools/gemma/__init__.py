"""XNNPACK's Gemma benchmark, on our kernels: int8 per channel beside int8 attention with an int4 feed-forward part."""
