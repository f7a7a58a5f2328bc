"""The ops of a program that are not matrix products or attention: embedding, norms, rope, residual, sampling.

Each file holds an op's record, its native function, a dataclass that adds it to a program, and its NumPy twin.
"""
