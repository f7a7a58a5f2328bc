"""Every query of the dashboards and rules, as Prometheus takes it. Knows what Grafana puts in for its variables."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tools.dashboards.panel import Dashboard

_INTERVAL = re.compile(r"\$__(rate_interval|interval|range)")
_VARIABLE = re.compile(r"\$\w+")
_COMPARISON = re.compile(r"\s(>|<|==)\s[\d.]+$")


def filled(expr: str, interval: str) -> str:
    """With everything chosen."""
    return _VARIABLE.sub(".*", _INTERVAL.sub(interval, expr))


def panel_queries(dashboard: Dashboard, interval: str) -> Iterator[tuple[str, str]]:
    """(what it is, query)"""
    for panel in dashboard.panels():
        for query in panel.queries:
            yield f"{dashboard.title}: {panel.title}", filled(query.expr, interval)


def rule_queries(folder: Path) -> Iterator[tuple[str, str]]:
    """Of an alert, what is compared: the alert itself has no data as long as all is well."""
    for path in sorted(folder.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                name = rule.get("record") or rule["alert"]
                yield f"{group['name']}: {name}", _COMPARISON.sub("", rule["expr"])
