"""The dashboards' files are what Python says, and what Grafana can lay out."""

import json

import pytest

from tools.dashboards.__main__ import DASHBOARDS, path_of, text_of
from tools.dashboards.panel import COLUMNS, Dashboard
from tools.dashboards.queries import filled

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


@every_dashboard
def test_the_file_is_up_to_date(dashboard: Dashboard) -> None:
    assert path_of(dashboard).read_text() == text_of(dashboard), "run python -m tools.dashboards"


@every_dashboard
def test_panels_are_apart_and_within_the_grid(dashboard: Dashboard) -> None:
    panels = json.loads(path_of(dashboard).read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < COLUMNS
        taken |= cells


@every_dashboard
def test_every_panel_says_what_it_shows(dashboard: Dashboard) -> None:
    assert all(panel.about.endswith(".") and panel.queries for panel in dashboard.panels())


def test_variables_and_intervals_are_filled_in() -> None:
    expr = 'rate(a{instance=~"$instance"}[$__rate_interval])'
    assert filled(expr, "1m") == 'rate(a{instance=~".*"}[1m])'
