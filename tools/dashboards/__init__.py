"""Grafana's dashboards, written from Python: `python -m tools.dashboards` makes deploy/grafana/dashboards."""
