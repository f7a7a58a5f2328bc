"""What a loaded server must hold, with figures: `make under-load`, or `python -m tests.under_load long-prompt`."""
