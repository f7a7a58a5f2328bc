"""The demo model in f32 by NumPy, by the generic integer kernels, by the dispatched ones: the table in the README."""
