"""Rehearses the application of Ray Serve on a cluster of two nodes on this machine: `make ray-check`."""
