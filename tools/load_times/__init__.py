"""How long a model takes to load, cold and warm, and how much memory: `make load-times`."""
