"""Two servers under the same load in turn, and the ratios of their figures. Knows no command line.

In turn, because a shared machine's speed drifts by tens of percent within minutes: each round runs both with the same
requests, who goes first changes from round to round, and only figures of one round are divided.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from loadtest.intervals import Ratio, ratio_of
from loadtest.load import Load
from loadtest.summary import Summary

Measure = Callable[[str, Load, int], Awaitable[Summary]]
"""(name, load, round) -> figures"""

SHOWN = (
    ("output_throughput", "output tokens/s"),
    ("request_throughput", "requests/s"),
    ("median_ttft_ms", "TTFT p50, ms"),
    ("p99_ttft_ms", "TTFT p99, ms"),
    ("median_itl_ms", "ITL p50, ms"),
    ("p99_itl_ms", "ITL p99, ms"),
    ("mean_tpot_ms", "TPOT mean, ms"),
    ("median_e2el_ms", "E2E p50, ms"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One load: a summary for each round and server."""

    load: Load
    names: tuple[str, str]
    rounds: Sequence[tuple[Summary, Summary]]

    def ratio(self, key: str) -> Ratio | None:
        """a/b: of a throughput more is better, of a latency less."""
        pairs = [(a[key], b[key]) for a, b in self.rounds]
        if any(value is None for pair in pairs for value in pair):
            return None
        return ratio_of([a for a, _ in pairs], [b for _, b in pairs])

    def median(self, server: int, key: str) -> float | None:
        values = [pair[server][key] for pair in self.rounds]
        return None if any(value is None for value in values) else median(values)

    def ratios(self) -> Summary:
        """Key -> ratio of every figure that has one: what objectives are held against."""
        found = {key: self.ratio(key) for key, value in self.rounds[0][0].items() if isinstance(value, int | float)}
        return {key: ratio.mean for key, ratio in found.items() if ratio is not None}

    def as_json(self) -> Summary:
        shown: dict[str, Any] = {}
        for key in self.ratios():
            ratio = self.ratio(key)
            assert ratio is not None
            medians = {"a": self.median(0, key), "b": self.median(1, key)}
            shown[key] = {**medians, "ratio": ratio.mean, "ratio_low": ratio.low, "ratio_high": ratio.high}
        first = self.rounds[0][0]
        return {
            "a": self.names[0],
            "b": self.names[1],
            "max_concurrency": first["max_concurrency"],
            "request_rate": first["request_rate"],
            "num_rounds": len(self.rounds),
            "failed": {"a": sum(a["failed"] for a, _ in self.rounds), "b": sum(b["failed"] for _, b in self.rounds)},
            "figures": shown,
            "rounds": [{"a": a, "b": b} for a, b in self.rounds],
        }

    def table(self) -> Table:
        first = self.rounds[0][0]
        title = f"concurrency {first['max_concurrency'] or '-'}, rate {first['request_rate'] or '-'}"
        table = Table(f"{title}: medians of {len(self.rounds)} rounds")
        for column in (*self.names, "ratio", "95 % interval"):
            table.add_column(column, justify="right")
        for key, words in SHOWN:
            if key not in first:  # a percentile that was not asked for
                continue
            ratio = self.ratio(key)
            values = [self.median(server, key) for server in (0, 1)]
            table.add_row(
                words,
                *("-" if value is None else f"{value:.1f}" for value in values),
                "-" if ratio is None else f"{ratio.mean:.2f}",
                "-" if ratio is None or ratio.low is None else f"{ratio.low:.2f}-{ratio.high:.2f}",
            )
        return table


async def compare(names: tuple[str, str], loads: Sequence[Load], num_rounds: int, measure: Measure) -> list[Comparison]:
    """A comparison for each load. All loads are in each round, so that they too lie beside each other in time."""
    rounds: list[list[tuple[Summary, Summary]]] = [[] for _ in loads]
    for number in range(num_rounds):
        order = names if number % 2 == 0 else names[::-1]
        for place, load in enumerate(loads):
            found = {name: await measure(name, load, number) for name in order}
            rounds[place].append((found[names[0]], found[names[1]]))
    return [Comparison(load, names, made) for load, made in zip(loads, rounds, strict=True)]
