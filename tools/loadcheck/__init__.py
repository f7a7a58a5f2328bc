"""The load test beside what is known: a server of known delays, and another tool on it. `make loadtest-check`."""
