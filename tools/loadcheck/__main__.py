"""`python -m tools.loadcheck`: the load test on a server of known delays, each figure beside what it must be.

In real time and over real sockets, so it takes a machine that has time for it: TTFT, TPOT, percentiles and rate within
2 %, and of 200 streams at once what the client's process costs. tests/loadtest shows the same on virtual time, exactly.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.loadcheck.known_server import NUM_STEPS, Delays

WITHIN = 0.02
MAX_CORES = 1.0
NUM_STREAMS, NUM_TOKENS = 200, 64


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what it is."""

    name: str
    measured: float
    known: float
    within: float = WITHIN

    @property
    def error(self) -> float:
        return self.measured / self.known - 1

    @property
    def is_met(self) -> bool:
        return abs(self.error) <= self.within


@contextmanager
def known_server(delays: Delays) -> Iterator[str]:
    command = [sys.executable, "-m", "tools.loadcheck.known_server", "--ttft", str(delays.ttft_s)]
    process = subprocess.Popen([*command, "--itl", str(delays.itl_s)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.wait()


def loadtest(url: str, *words: str) -> dict[str, Any]:
    """A process of its own, as people run it: what it costs is its own."""
    command = [sys.executable, "-m", "loadtest", url, "--json", "--quiet", "--num-warmups", "0", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def latencies(delays: Delays, rate: float) -> list[Figure]:
    """An open loop of evenly spaced requests: every TTFT of the period comes once."""
    with known_server(delays) as url:
        words = ["--rate", str(rate), "--burstiness", "inf", "-n", str(NUM_STEPS), "--output-len", str(NUM_TOKENS)]
        found = loadtest(url, *words, "--metric-percentiles", "50,90,95,99")
    ttft_ms = np.array([delays.ttft_of(number) for number in range(NUM_STEPS)]) * 1e3
    rest_ms = (NUM_TOKENS - 1) * delays.itl_s * 1e3
    span_s = (NUM_STEPS - 1) / rate + (ttft_ms[-1] + rest_ms) / 1e3
    itl_ms = delays.itl_s * 1e3
    figures = [
        Figure("TTFT mean, ms", found["mean_ttft_ms"], float(ttft_ms.mean())),
        Figure("TPOT mean, ms", found["mean_tpot_ms"], itl_ms),
        Figure("TPOT p99, ms", found["p99_tpot_ms"], itl_ms),
        Figure("inter-token mean, ms", found["mean_itl_ms"], itl_ms),
        Figure("inter-token p50, ms", found["median_itl_ms"], itl_ms),
        Figure("requests/s", found["request_throughput"], NUM_STEPS / span_s),
        Figure("output tokens/s", found["output_throughput"], NUM_STEPS * NUM_TOKENS / span_s),
    ]
    for percentile in (50, 90, 95, 99):
        figures.append(
            Figure(
                f"TTFT p{percentile}, ms", found[f"p{percentile}_ttft_ms"], float(np.percentile(ttft_ms, percentile))
            )
        )
        whole = float(np.percentile(ttft_ms + rest_ms, percentile))
        figures.append(Figure(f"E2E p{percentile}, ms", found[f"p{percentile}_e2el_ms"], whole))
    return figures


def client_cores(delays: Delays) -> tuple[float, float]:
    """(cores that the client's process used, tokens/s that it read) with all streams at once."""
    with known_server(delays) as url:
        words = ["--rate", "inf", "--concurrency", str(NUM_STREAMS), "-n", str(2 * NUM_STREAMS)]
        found = loadtest(url, *words, "--output-len", "128")
    return found["client_cpu_cores"], found["output_throughput"]


def table(figures: Sequence[Figure]) -> Table:
    made = Table("figure")
    for column in ("measured", "known", "error", ""):
        made.add_column(column, justify="right")
    for one in figures:
        words = (f"{one.measured:.2f}", f"{one.known:.2f}", f"{one.error:+.2%}", "" if one.is_met else "MISSED")
        made.add_row(one.name, *words)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.loadcheck", description="loadtest beside known delays")
    parser.add_argument("--rate", type=float, default=5.0, help="requests/s (default: 5)")
    options = parser.parse_args()
    figures = latencies(Delays(), options.rate)
    Console(width=max(100, Console().width)).print(table(figures))
    cores, tokens_per_s = client_cores(Delays())
    print(f"{NUM_STREAMS} streams at once, {tokens_per_s:.0f} tokens/s read: the client used {cores:.2f} cores")
    misses = [f"{one.name} is off by {one.error:+.2%}" for one in figures if not one.is_met]
    if cores > MAX_CORES:
        misses.append(f"the client used {cores:.2f} cores, more than {MAX_CORES:g}")
    for miss in misses:
        print(f"loadtest-check: {miss}", file=sys.stderr)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
