"""Prometheus metrics, fed by observers and read when scraped. Nothing on the hot path knows of them."""
