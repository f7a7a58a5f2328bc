"""The HTTP face of service.generate: bodies in, JSON and event streams out. Knows no model and no kernel."""
