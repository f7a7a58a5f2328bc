"""Load on a running server. A client: imports neither kernels nor service."""
