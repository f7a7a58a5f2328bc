"""Prints the rows QCINT8/64, /512, /1024 and Mixed_INT48/64, /512, /1024 with items (tokens) per second, and decode.

`python -m tools.gemma [-t 2] [-r 5] [--shape gemma-2b gemma-3-270m]`; `make gemma-bench`. Gemma 2B has random weights
in its shapes (4 GB in the cache folder, written once), Gemma 3 270M is the demo model quantised again. Both types are
loaded side by side and measured in turn, so that their ratios hold on a shared machine; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from kernels.folder import cache_folder
from service.bench import sample_ns
from service.errors import GemmuleError
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.pull import resolve_model
from service.quantise.recipe import Wish
from service.quantise.write import quantise
from service.settings import Settings
from tools.gemma.random_gemma import GEMMA_2B, TINY, write

ROWS: Mapping[str, str] = {"QCINT8": "qc8", "Mixed_INT48": "mixed48"}
RANDOM = {"gemma-2b": GEMMA_2B, "tiny": TINY}
SHAPES = (*RANDOM, "gemma-3-270m")
PROMPTS = (64, 512, 1024)
GEN = 32
STEP_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One test of both types; tokens per second, a sample a round."""

    test: str
    samples: Mapping[str, list[float]]

    @property
    def ratio(self) -> float:
        """Mixed_INT48 over QCINT8, the median of the rounds' own."""
        first, second = (self.samples[name] for name in ROWS)
        return median(other / one for one, other in zip(first, second, strict=True))


def model_file(shape: str, kind: str) -> Path:
    """Made when it is not there yet."""
    path = cache_folder().absolute() / "gemma" / f"{shape}-{kind}.gguf"
    if not path.exists():
        print(f"gemma: writing {path}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        if shape in RANDOM:
            write(path, RANDOM[shape], kind)
        else:
            quantise(resolve_model(shape), path, Wish(kind), lambda name, done, count: None)
    return path


def measured(models: Mapping[str, GemmuleModel], rounds: int) -> list[Line]:
    """The order changes from round to round; a first round warms and does not count."""
    lines = []
    for length, is_prompt in (*((n, True) for n in PROMPTS), (GEN, False)):
        samples: dict[str, list[float]] = {name: [] for name in models}
        for number in range(rounds + 1):
            for name in sorted(models, reverse=bool(number % 2)):
                ns = sample_ns(models[name], length, is_prompt, STEP_TOKENS)
                if number:
                    samples[name].append(length * 1e9 / ns)
        lines.append(Line(str(length) if is_prompt else "decode", samples))
    return lines


def as_table(title: str, lines: list[Line]) -> Table:
    table = Table("row", title=title)
    for column in ("items per second", "least", "most", "of QCINT8"):
        table.add_column(column, justify="right")
    for name in ROWS:
        for line in lines:
            values = line.samples[name]
            cells = (f"{value:,.1f}" for value in (median(values), min(values), max(values)))
            table.add_row(f"{name}/{line.test}", *cells, f"{line.ratio:.3f}" if name != next(iter(ROWS)) else "")
    return table


def run(shape: str, num_threads: int, rounds: int) -> tuple[str, list[Line]]:
    with ExitStack() as opened:
        models = {}
        for name, kind in ROWS.items():
            settings = Settings(threads=num_threads, ctx=max(PROMPTS), max_batch=1, max_step_tokens=STEP_TOKENS)
            models[name] = load_model(model_file(shape, kind), settings)
            opened.callback(models[name].close)
        rung = next(iter(models.values())).cpu.name
        return f"{shape}, {num_threads} threads, {rung}", measured(models, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.gemma", description=__doc__)
    parser.add_argument("--shape", nargs="*", choices=SHAPES, default=("gemma-2b", "gemma-3-270m"))
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="all samples, instead of the tables")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    try:
        for shape in options.shape:
            title, lines = run(shape, options.threads, options.rounds)
            found[shape] = {line.test: line.samples for line in lines}
            if not options.json:
                Console(width=100).print(as_table(title, lines))
    except (GemmuleError, OSError) as error:
        sys.exit(f"gemma: {error}")
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
