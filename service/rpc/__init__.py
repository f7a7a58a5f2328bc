"""The gRPC face of service.generate. Knows no model and no kernel."""
