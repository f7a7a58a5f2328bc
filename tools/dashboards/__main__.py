"""Writes the dashboards' JSON, or says which of them differ: `python -m tools.dashboards [--check]`."""

import json
import sys
from pathlib import Path

from tools.dashboards.engine import ENGINE
from tools.dashboards.kernels import KERNELS
from tools.dashboards.panel import Dashboard
from tools.dashboards.service import SERVICE

FOLDER = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"
DASHBOARDS = (SERVICE, ENGINE, KERNELS)


def path_of(dashboard: Dashboard) -> Path:
    return FOLDER / f"{dashboard.uid.removeprefix('gemmule-')}.json"


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(dashboard.json(), indent=1) + "\n"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        stale = [path_of(d).name for d in DASHBOARDS if path_of(d).read_text() != text_of(d)]
        print(*stale, sep="\n", end="\n" if stale else "")
        return bool(stale)
    for dashboard in DASHBOARDS:
        path_of(dashboard).write_text(text_of(dashboard))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
