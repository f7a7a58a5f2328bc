"""A server under a hard life for minutes: `make soak`, or `python -m tests.soak --seconds 60`."""
