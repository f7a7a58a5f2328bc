"""Families whose weights carry a scale per 32 elements of K, activations quantised to int8 per 32 at run time."""
