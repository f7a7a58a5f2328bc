"""Rehearses a rolling restart with real processes, signals and requests, as Kubernetes would do it."""
