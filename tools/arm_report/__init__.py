"""What the Arm micro-kernels cost, counted and modelled, written to docs/kernels.md."""
