"""Where a request's time went, and what the threads did in a step, as traces. Observes, decides nothing."""
