"""Measures `gemmule bench` and llama-bench in turn on the same file, and prints both with their ratio.

In turn, because a shared machine's speed drifts by tens of percent within minutes: each round runs both programs, one
repetition each, and the order changes from round to round. `python -m tools.peer.compare --help`; `make bench`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from service.errors import GemmuleError
from service.pull import DEFAULT_MODEL, resolve_model
from tools.peer.llamacpp import PeerError, programs, quantised_purely

OURS, PEER = "gemmule", "llama.cpp"


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to measure: `test` is llama-bench's word, pp512 or tg128."""

    model: Path
    num_threads: int
    test: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Tokens per second of one program in one round."""

    work: Work
    program: str
    tokens_per_s: float


def measure(model: Path, num_threads: int, options: argparse.Namespace, program: str) -> Iterator[Sample]:
    """One run of one program: a sample of prefill and one of decode."""
    sizes = ["-p", str(options.n_prompt), "-n", str(options.n_gen), "-t", str(num_threads), "-r", "1"]
    if program == OURS:
        command = [sys.executable, "-m", "service.cli", "bench", str(model), *sizes, "--json"]
    else:
        command = [str(programs() / "llama-bench"), "-m", str(model), *sizes, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise PeerError(f"{program} ended with status {done.returncode}: {lines[-1] if lines else 'no message'}")
    for row in json.loads(done.stdout):
        test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        yield Sample(Work(model, num_threads, test), program, row["avg_ts"])


Measure = Callable[[Path, int, argparse.Namespace, str], Iterable[Sample]]


def rounds(models: Sequence[Path], options: argparse.Namespace, measure: Measure = measure) -> Iterator[Sample]:
    """All samples, round by round; who goes first changes."""
    for number in range(options.rounds):
        order = (OURS, PEER) if number % 2 == 0 else (PEER, OURS)
        for model in models:
            for num_threads in options.threads:
                print(f"round {number + 1}: {model.name}, {num_threads} threads", file=sys.stderr)
                for program in order:
                    yield from measure(model, num_threads, options, program)


def summary(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """A row for each work: the medians, their ratio, and the least and greatest ratio of a round."""
    rows = []
    for work in dict.fromkeys(sample.work for sample in samples):
        ours, peer = (
            [sample.tokens_per_s for sample in samples if sample.work == work and sample.program == program]
            for program in (OURS, PEER)
        )
        ratios = [one / other for one, other in zip(ours, peer, strict=True)]
        rows.append(
            {
                "model": work.model.name,
                "n_threads": work.num_threads,
                "test": work.test,
                OURS: median(ours),
                PEER: median(peer),
                "ratio": median(ours) / median(peer),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
                "samples": {OURS: ours, PEER: peer},
            }
        )
    return rows


def as_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Tokens per second, medians over the rounds."""
    table = Table("model", title="tokens/s, medians of interleaved rounds")
    for column in ("threads", "test", OURS, PEER, "ratio", "per round"):
        table.add_column(column, justify="right")
    for row in rows:
        span = f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}"
        speeds = (f"{row[OURS]:.1f}", f"{row[PEER]:.1f}", f"{row['ratio']:.2f}")
        table.add_row(row["model"], str(row["n_threads"]), row["test"], *speeds, span)
    return table


def numbers(text: str) -> list[int]:
    """ "1,2" -> [1, 2]"""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Without models: the demo model, and the same requantised to pure Q4_0."""
    parser = argparse.ArgumentParser(prog="python -m tools.peer.compare", description="gemmule beside llama.cpp")
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="GGUF files (default: the demo models)")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=128)
    parser.add_argument("-t", "--threads", type=numbers, default=[1, 2], help="default: 1,2")
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="rows with all samples, instead of the table")
    options = parser.parse_args()
    try:
        demo = resolve_model(DEFAULT_MODEL) if not options.models else None
        samples = list(rounds([demo, quantised_purely(demo, "Q4_0")] if demo else options.models, options))
    except (PeerError, GemmuleError, OSError) as error:
        sys.exit(f"bench: {error}")
    rows = summary(samples)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        Console(width=max(120, Console().width)).print(as_table(rows))
        print("load average at the end (1, 5, 15 min):", *(f"{load:.2f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
