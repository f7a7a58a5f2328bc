"""Turns Python into machine code. Knows instructions and files of objects, no matrix."""
