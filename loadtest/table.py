"""A run's figures as a table for people. Knows no server."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from loadtest.summary import Summary, percentile_key

ROWS = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "inter-token latency",
    "e2el": "end to end",
}


def figures_table(summary: Summary, percentiles: Sequence[float]) -> Table:
    """Latencies in ms, a metric a line."""
    table = Table("ms")
    for column in ("mean", *(f"p{percentile:g}" for percentile in percentiles)):
        table.add_column(column, justify="right")
    for name, words in ROWS.items():
        keys = [f"mean_{name}_ms", *(percentile_key(percentile, name) for percentile in percentiles)]
        table.add_row(words, *(number(summary[key]) for key in keys))
    return table


def headline(summary: Summary) -> str:
    parts = [
        f"{summary['completed']} requests in {summary['duration']:.1f} s",
        f"{summary['request_throughput']:.2f} requests/s",
        f"{summary['output_throughput']:.1f} output tokens/s",
        f"{summary['total_token_throughput']:.1f} tokens/s in all",
    ]
    if summary["failed"]:
        reasons = ", ".join(f"{reason} x {times}" for reason, times in summary["failures"].items())
        parts.insert(1, f"{summary['failed']} failed ({reasons})")
    if summary["goodput_ratio"] is not None:
        parts.append(f"goodput {summary['request_goodput']:.2f}/s ({summary['goodput_ratio']:.0%})")
    return ", ".join(parts)


def sweep_table(summaries: Sequence[Summary]) -> Table:
    """A load a line."""
    columns = ("concurrency", "rate", "output tokens/s", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99", "failed")
    table = Table(*columns)
    for summary in summaries:
        table.add_row(
            str(summary["max_concurrency"] or "-"),
            str(summary["request_rate"] or "-"),
            f"{summary['output_throughput']:.1f}",
            *(number(summary.get(key)) for key in ("median_ttft_ms", "p99_ttft_ms", "median_itl_ms", "p99_itl_ms")),
            str(summary["failed"]),
        )
    return table


def number(value: Any) -> str:
    return "-" if value is None else f"{value:.1f}"
