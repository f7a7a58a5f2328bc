"""Results as files: JSON with every request, CSV, and a page or picture of CDFs, throughput over time and the sweep.

matplotlib draws, and is imported only then: `pip install 'gemmule[report]'`.
"""

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.benchmark import Result
from loadtest.errors import LoadtestError
from loadtest.summary import Summary, details, tokens_by_second, values_ms

CDFS = {"ttft": "time to first token", "itl": "inter-token latency", "e2el": "end to end"}
FORMATS = (".json", ".csv", ".html", ".png", ".svg")


class CannotReport(LoadtestError):
    """A report of no known form, or no matplotlib."""


def write_report(path: Path, results: Sequence[Result]) -> None:
    """The file's ending says which form. Raises CannotReport."""
    if path.suffix == ".json":
        whole = [{**result.summary, **details(result.records)} for result in results]
        path.write_text(json.dumps(whole[0] if len(whole) == 1 else whole, indent=1))
    elif path.suffix == ".csv":
        path.write_text(as_csv([result.summary for result in results]))
    elif path.suffix == ".html":
        path.write_text(as_page(results))
    elif path.suffix in (".png", ".svg"):
        path.write_bytes(drawn(results, path.suffix[1:]))
    else:
        raise CannotReport(f"{path}: a report ends in one of {', '.join(FORMATS)}")


def check_report(path: Path) -> None:
    """Before the load rather than after it. Raises CannotReport."""
    if path.suffix not in FORMATS:
        raise CannotReport(f"{path}: a report ends in one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise CannotReport(f"{path}: there is no folder {path.parent}")
    if path.suffix not in (".json", ".csv"):
        _figure_class()


def as_csv(summaries: Sequence[Summary]) -> str:
    """A line a load, a column a figure."""
    columns = [key for key, value in summaries[0].items() if not isinstance(value, dict)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(summaries)
    return text.getvalue()


def as_page(results: Sequence[Result]) -> str:
    """One file, the picture inside."""
    picture = base64.b64encode(drawn(results, "png")).decode()
    keys = [key for key, value in results[0].summary.items() if not isinstance(value, dict)]
    rows = "\n".join(
        f"<tr><th>{html.escape(key)}</th>{''.join(f'<td>{_cell(result.summary[key])}</td>' for result in results)}</tr>"
        for key in keys
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Load test</title>
<style>body{{font:14px sans-serif;margin:2em}}td,th{{padding:2px 12px;text-align:right}}th{{text-align:left}}
img{{max-width:100%}}</style></head>
<body><h1>Load test of {html.escape(str(results[0].summary["base_url"]))}</h1>
<img alt="latency CDFs, throughput over time, sweep" src="data:image/png;base64,{picture}">
<table>{rows}</table></body></html>
"""


def drawn(results: Sequence[Result], form: str) -> bytes:
    """CDFs of latencies, output tokens by second, and for a sweep throughput against latency."""
    figure = _figure_class()(figsize=(14, 8), layout="constrained")
    axes = figure.subplots(2, 3)
    for place, (metric, words) in enumerate(CDFS.items()):
        _draw_cdfs(axes[0][place], results, metric, words)
    for result in results:
        seconds = tokens_by_second(result.records)
        span = range(max(seconds, default=0) + 1)
        axes[1][0].plot(span, [seconds.get(second, 0.0) for second in span], label=_name(result))
    _label(axes[1][0], "output tokens by second", "s", "tokens/s")
    speeds = [result.summary["output_throughput"] for result in results]
    for place, (key, words) in enumerate((("median_itl_ms", "ITL p50"), ("p99_ttft_ms", "TTFT p99")), 1):
        latencies = [result.summary.get(key) or 0.0 for result in results]
        axes[1][place].plot(speeds, latencies, marker="o")
        for result, speed, latency in zip(results, speeds, latencies, strict=True):
            axes[1][place].annotate(_name(result), (speed, latency))
        _label(axes[1][place], f"{words} against throughput", "output tokens/s", "ms", legend=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=100)
    return buffer.getvalue()


def _draw_cdfs(axis: Any, results: Sequence[Result], metric: str, words: str) -> None:
    for result in results:
        values = sorted(values_ms([record for record in result.records if record.is_complete])[metric])
        axis.step(
            values, [(index + 1) / len(values) for index in range(len(values))], where="post", label=_name(result)
        )
    _label(axis, words, "ms", "share of requests" if metric != "itl" else "share of gaps")


def _label(axis: Any, title: str, x: str, y: str, *, legend: bool = True) -> None:
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    if legend:
        axis.legend()


def _name(result: Result) -> str:
    rate, concurrency = result.summary["request_rate"], result.summary["max_concurrency"]
    return f"rate {rate}" if rate is not None else f"{concurrency} callers"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else html.escape(str(value))


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # no pyplot: no window, no state of the process
    except ImportError:
        raise CannotReport("pictures need matplotlib: pip install 'gemmule[report]'") from None
    return Figure
