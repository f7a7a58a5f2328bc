"""Draws the dashboards' panels from a Prometheus' API, where there is no Grafana: one PNG a dashboard.

    python -m tools.dashboards.pictures http://127.0.0.1:8080 OUT_FOLDER --seconds 90

Starts a Prometheus of its own that scrapes the server for so long; put load on it meanwhile.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from tools.dashboards.__main__ import DASHBOARDS
from tools.dashboards.panel import Dashboard, Panel
from tools.dashboards.prometheus import Prometheus, scraping
from tools.dashboards.queries import filled

WINDOW = "20s"
STEP_S = 2.0
COLUMNS = 4
MOST_SERIES = 8


def draw(dashboard: Dashboard, prometheus: Prometheus, start_s: float, end_s: float, path: Path) -> None:
    panels = dashboard.panels()
    num_rows = math.ceil(len(panels) / COLUMNS)
    figure, axes = pyplot.subplots(num_rows, COLUMNS, figsize=(5.2 * COLUMNS, 3.1 * num_rows), squeeze=False)
    for place in axes.flat[len(panels) :]:
        place.axis("off")
    for panel, place in zip(panels, axes.flat, strict=False):
        place.set_title(panel.title, fontsize=10, loc="left")
        place.tick_params(labelsize=7)
        _panel(panel, prometheus, start_s, end_s, place)
    figure.suptitle(dashboard.title, fontsize=14, x=0.01, ha="left")
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


def _panel(panel: Panel, prometheus: Prometheus, start_s: float, end_s: float, axes: Axes) -> None:
    if panel.kind == "heatmap":
        _heatmap(prometheus.query_range(filled(panel.queries[0].expr, WINDOW), start_s, end_s, STEP_S), axes)
        return
    if panel.kind in ("stat", "table", "bargauge"):
        _values(panel, prometheus, end_s, axes)
        return
    stacked: list[tuple[str, Any, Any]] = []
    for query in panel.queries:
        for series in prometheus.query_range(filled(query.expr, WINDOW), start_s, end_s, STEP_S):
            at = np.array([float(time_s) - start_s for time_s, _ in series["values"]])
            values = np.array([float(value) for _, value in series["values"]])
            stacked.append((_name(series["metric"], query.legend), at, values))
    stacked.sort(key=lambda one: -float(np.nan_to_num(one[2]).sum()))
    for name, at, values in stacked[:MOST_SERIES]:
        axes.plot(at, values, linewidth=1, label=name[:44])
    axes.set_ylim(bottom=0)
    if stacked:
        axes.legend(fontsize=5.5, loc="upper left")


def _values(panel: Panel, prometheus: Prometheus, at_s: float, axes: Axes) -> None:
    """One value large, several as lines."""
    found = [
        (float(series["value"][1]), _name(series["metric"], query.legend))
        for query in panel.queries
        for series in prometheus.query(filled(query.expr, WINDOW), at_s)
    ]
    found.sort(reverse=True)
    axes.axis("off")
    if len(found) == 1 and panel.kind == "stat":
        axes.text(0.02, 0.6, f"{found[0][0]:.4g}", fontsize=26)
        axes.text(0.02, 0.42, panel.unit, fontsize=9, color="gray")
        return
    lines = [f"{value:10.4g}  {name}"[:78] for value, name in found[:18]]
    axes.text(0, 0.98, "\n".join(lines), va="top", fontsize=6.5, family="monospace")


def _heatmap(found: list[dict[str, Any]], axes: Axes) -> None:
    found.sort(key=lambda series: float(series["metric"]["le"]))
    times = sorted({float(at) for series in found for at, _ in series["values"]})
    cells = np.zeros((len(found), len(times)))
    for row, series in enumerate(found):
        for at, value in series["values"]:
            cells[row, times.index(float(at))] = float(value)
    cells = np.diff(cells, axis=0, prepend=0)
    used = np.nonzero(cells.sum(axis=1))[0]
    low, high = (int(used.min()), int(used.max()) + 1) if len(used) else (0, len(found))
    axes.imshow(cells[low:high], aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
    labels = [f"{float(series['metric']['le']):.3g}" for series in found[low:high]]
    step = max(1, len(labels) // 8)
    axes.set_yticks(range(0, len(labels), step), labels[::step])


def _name(labels: dict[str, str], legend: str) -> str:
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    if legend:
        return legend
    return " ".join(value for label, value in labels.items() if label not in ("job", "instance", "__name__"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=90.0)
    arguments = parser.parse_args()
    target = arguments.url.split("://")[-1].rstrip("/")
    with tempfile.TemporaryDirectory() as folder, scraping(target, Path(folder) / "run") as prometheus:
        start_s = time.time()
        time.sleep(arguments.seconds)
        end_s = time.time()
        arguments.out.mkdir(parents=True, exist_ok=True)
        for dashboard in DASHBOARDS:
            name = dashboard.uid.removeprefix("gemmule-")
            draw(dashboard, prometheus, start_s + 5, end_s, arguments.out / f"{name}.png")


if __name__ == "__main__":
    main()
