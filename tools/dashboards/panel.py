"""A dashboard as a value, and the JSON that Grafana reads. Knows no metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and what a series of it is called. `is_table`: only the last value counts."""

    expr: str
    legend: str = ""
    is_table: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """`kind`: timeseries, stat, heatmap, table or bargauge. `width` of 24 columns."""

    title: str
    queries: Sequence[Query]
    about: str
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    is_stacked: bool = False
    is_share: bool = False
    """From 0 to 1."""

    def json(self, number: int, x: int, y: int) -> JSON:
        made: JSON = {
            "id": number,
            "title": self.title,
            "description": self.about,
            "type": self.kind,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(query, index) for index, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
        }
        match self.kind:
            case "timeseries":
                made["options"] = {
                    "legend": {"displayMode": "list", "placement": "bottom"},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
            case "stat":
                made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
            case "heatmap":
                made["options"] = {
                    "calculate": False,
                    "yAxis": {"unit": self.unit},
                    "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                    "cellGap": 1,
                }
            case "bargauge":
                made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"}
            case "table":
                # One row a series, one column a query.
                made["transformations"] = [{"id": "merge", "options": {}}, _without_time()]
        return made

    def _target(self, query: Query, index: int) -> JSON:
        target: JSON = {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query.expr}
        if query.legend:
            target["legendFormat"] = query.legend
        if self.kind == "heatmap":
            target["format"] = "heatmap"
            target["legendFormat"] = "{{le}}"
        if query.is_table or self.kind == "table":
            target |= {"instant": True, "range": False, "format": "table"}
        return target

    def _defaults(self) -> JSON:
        defaults: JSON = {"unit": self.unit}
        if self.kind == "timeseries":
            custom: JSON = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 60 if self.is_stacked else 8}
            custom |= {"showPoints": "never", "spanNulls": True}
            if self.is_stacked:
                custom["stacking"] = {"mode": "normal", "group": "A"}
            defaults["custom"] = custom
        if self.is_share:
            defaults |= {"min": 0, "max": 1}
        elif self.kind == "timeseries":
            defaults["min"] = 0
        return defaults


def _without_time() -> JSON:
    return {"id": "organize", "options": {"excludeByName": {"Time": True, "job": True, "__name__": True}}}


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the dashboard: the values of a label."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    about: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[Variable] = ()

    def panels(self) -> list[Panel]:
        return [panel for _, panels in self.rows for panel in panels]

    def json(self) -> JSON:
        made: list[JSON] = []
        y = 0
        for title, panels in self.rows:
            made.append(
                {
                    "id": len(made) + 1,
                    "type": "row",
                    "title": title,
                    "collapsed": False,
                    "panels": [],
                    "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
                }
            )
            y += 1
            x = height = 0
            for panel in panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                made.append(panel.json(len(made) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["gemmule"],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "templating": {"list": [_datasource(), *(_variable(variable) for variable in self.variables)]},
            "links": [
                {"type": "dashboards", "tags": ["gemmule"], "title": "Gemmule", "asDropdown": False, "keepTime": True}
            ],
            "panels": made,
        }


def _datasource() -> JSON:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> JSON:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }
