"""Somebody else's Grafana dashboards beside a running server: which of their queries find their series there.

    python -m tools.dashboards.foreign http://127.0.0.1:8080 grafana.json ...

Looks into /metrics, without a Prometheus: a selector is found if a series has its name, and the labels that it names
without a variable. Status 1 if a query finds nothing; what the server knows by no name of theirs is listed.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

_SELECTOR = re.compile(r"([a-zA-Z_][a-zA-Z0-9_:]*)\s*(?:\{([^}]*)\}|(?=\[))")
_MATCHER = re.compile(r'(\w+)\s*=\s*"([^"$]*)"')

Series = dict[str, list[dict[str, str]]]


def queries_of(dashboard: Any) -> Iterator[tuple[str, str]]:
    """(panel, query), also of panels within rows."""
    for panel in dashboard.get("panels", []):
        yield from queries_of(panel)
        for target in panel.get("targets", []):
            if "expr" in target:
                yield panel.get("title", "?"), target["expr"]


def missing(expr: str, series: Series) -> list[str]:
    """The selectors of a query that no series answers."""
    lacking = []
    for name, labels in _SELECTOR.findall(expr):
        wanted = dict(_MATCHER.findall(labels))
        if not any(wanted.items() <= own.items() for own in series.get(name, [])):
            lacking.append(f"{name}{{{', '.join(f'{key}={value}' for key, value in wanted.items())}}}")
    return lacking


def series_of(text: str) -> Series:
    """A scrape's, by name; those which Prometheus itself adds are among them."""
    found: Series = {"up": [{}]}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    url, *paths = sys.argv[1:]
    series = series_of(httpx.get(f"{url.rstrip('/')}/metrics", timeout=60.0).text)
    num_lacking = 0
    for path in paths:
        queries = list(queries_of(json.loads(Path(path).read_text())))
        lacking = [(panel, names) for panel, expr in queries if (names := missing(expr, series))]
        num_lacking += len(lacking)
        print(f"{path}: {len(queries) - len(lacking)} of {len(queries)} queries find their series")
        for panel, names in lacking:
            print(f"    {panel}: {', '.join(names)}")
    return 1 if num_lacking else 0


if __name__ == "__main__":
    sys.exit(main())
