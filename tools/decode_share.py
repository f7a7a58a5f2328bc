"""Prints the share of the memory's read bandwidth that a model's decode takes.

`python -m tools.decode_share MODEL [-t 2] [-r 6]`. Each round reads, decodes and reads again, for the speed of a shared
machine drifts. A token counts the file's own bytes of all tensors: right where the embedding is the output as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean, median

from service.errors import GemmuleError
from service.pull import DEFAULT_MODEL, resolve_model
from tools.baseline.__main__ import read_bandwidth

GEN = 16


def decode_bytes_per_s(model: Path, threads: int) -> float:
    sizes = ["-p", "0", "-n", str(GEN), "-t", str(threads), "-r", "2", "--json"]
    command = [sys.executable, "-m", "service.cli", "bench", str(model), *sizes]
    (row,) = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return float(row["avg_ts"] * row["model_size"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.decode_share", description=__doc__)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=6)
    options = parser.parse_args()
    shares = []
    try:
        model = resolve_model(options.model)
        for _ in range(options.rounds):
            before = read_bandwidth(options.threads)
            decode = decode_bytes_per_s(model, options.threads)
            read = fmean((before, read_bandwidth(options.threads)))
            shares.append(decode / read)
            print(f"decode {decode / 1e9:.1f} GB/s of {read / 1e9:.1f} GB/s: {shares[-1]:.1%}", flush=True)
    except (GemmuleError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"decode_share: {error}")
    print(f"median {median(shares):.1%}")


if __name__ == "__main__":
    main()
