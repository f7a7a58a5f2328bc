"""The errors of the kernels package. Knows nothing of HTTP."""


class KernelsError(Exception):
    """Something the caller can mend: a CPU without a needed feature, a shape that no kernel takes."""
