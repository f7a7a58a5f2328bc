"""An aarch64 Python on a machine of another kind, and the tests that run on it under each CPU we care for."""
