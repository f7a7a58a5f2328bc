"""Prints the table: f32 by NumPy, generic integer kernels (`--isa scalar`), dispatched ones, in turn on one model.

`python -m tools.baseline [MODEL] [-t 2] [-r 5]`. Prefill of 512 tokens; 50 tokens decoded one by one, whose time is the
latency. Bytes per token are those of the weights as each program reads them; the share is of vector loads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np

from service.errors import GemmuleError
from service.pull import DEFAULT_MODEL, resolve_model

PROMPT, GEN = 512, 50
READ_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds of each round; `token_bytes`: read from memory for a token."""

    name: str
    prefill_s: list[float]
    decode_s: list[float]
    token_bytes: int

    def cells(self, read_bytes_per_s: float) -> list[str]:
        prefill, decode = median(self.prefill_s), median(self.decode_s)
        latency = [1e3 * value for value in (fmean(self.decode_s), min(self.decode_s), max(self.decode_s))]
        return [
            self.name,
            f"{PROMPT / prefill:,.0f}",
            f"{GEN / decode:.1f}",
            " / ".join(f"{value:.0f}" for value in latency),
            f"{self.token_bytes / 1e6:.0f} MB",
            f"{self.token_bytes * GEN / decode / read_bytes_per_s:.0%}",
        ]


def ours(model: Path, threads: int, isa: str | None) -> tuple[float, float]:
    """One run of `gemmule bench`: seconds of a prefill and of a decode."""
    sizes = ["-p", str(PROMPT), "-n", str(GEN), "-t", str(threads), "-r", "1", "--json"]
    command = [sys.executable, "-m", "service.cli", "bench", str(model), *sizes, *(["--isa", isa] if isa else [])]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    seconds = {row["n_prompt"] > 0: row["avg_ns"] / 1e9 for row in rows}
    return seconds[True], seconds[False]


class Numpy:
    """The f32 model in a process of its own, with as many BLAS threads as the team."""

    def __init__(self, model: Path, threads: int) -> None:
        command = [sys.executable, "-m", "tools.baseline.numpy_llama", str(model), str(PROMPT)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for what, count in (("prefill", PROMPT), ("decode", 2)):
            self.seconds(what, count)

    def seconds(self, what: str, count: int) -> float:
        assert self._process.stdin
        assert self._process.stdout
        print(what, count, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def token_bytes(model: Path) -> tuple[int, int]:
    """Of the weights that a token is multiplied with: in f32, packed."""
    from service.loader import load_model
    from service.settings import Settings

    loaded = load_model(model, Settings(model=str(model), max_batch=1))
    try:
        return sum(4 * p.matrix.n * p.matrix.k for p in loaded.weights.matrices()), loaded.weights.packed_bytes
    finally:
        loaded.close()


def read_bandwidth(threads: int) -> float:
    """Bytes per second of vector loads."""
    from kernels.cpu import detect_cpu
    from kernels.jit.library import KernelLibrary
    from kernels.ladder import rungs_for
    from kernels.peaks.measure import MemoryReader

    memory = np.ones(READ_BYTES, np.uint8)
    with MemoryReader(rungs_for(detect_cpu())[0], memory, threads, KernelLibrary()) as reader:
        return median(reader.bytes_per_s() for _ in range(5))


def measure(model: Path, threads: int, rounds: int) -> Iterator[Line]:
    in_floats, packed = token_bytes(model)
    lines = [
        Line(f"NumPy, f32, {threads} BLAS threads", [], [], in_floats),
        Line("generic integer kernels (`--isa scalar`)", [], [], packed),
        Line("dispatched kernels", [], [], packed),
    ]
    baseline = Numpy(model, threads)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        lines[0].prefill_s.append(baseline.seconds("prefill", PROMPT))
        lines[0].decode_s.append(baseline.seconds("decode", GEN))
        for line, isa in ((lines[1], "scalar"), (lines[2], None)):
            prefill_s, decode_s = ours(model, threads, isa)
            line.prefill_s.append(prefill_s)
            line.decode_s.append(decode_s)
    baseline.close()
    yield from lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.baseline", description=__doc__)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    options = parser.parse_args()
    try:
        lines = list(measure(resolve_model(options.model), options.threads, options.rounds))
    except (GemmuleError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"baseline: {error}")
    bandwidth = read_bandwidth(options.threads)
    print("| | prefill 512, tokens/s | decode, tokens/s | 50 tokens, ms: mean / least / most | bytes a token | share |")
    print("|---|--:|--:|--:|--:|--:|")
    for line in lines:
        print(f"| {' | '.join(line.cells(bandwidth))} |")
    print(f"vector loads: {bandwidth / 1e9:.1f} GB/s; load average {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
