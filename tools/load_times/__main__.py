"""Loads models of known shapes cold, warm and without the cache, beside plain reading and writing of as many bytes.

`make load-times [ARGS="-r 3"]`. In turn, each in a process of its own, medians: the model file is in the page cache,
the packed file is new (cold) or in the page cache (warm).

    plain      read the model file, checksum as many bytes as the packed weights have, write them, fsync: one thread
    cold       pack into the cache folder, as a first start does, by all threads; fsync and checking included
    warm       open, tokenizer, weights found, checked and mapped, as a second start does
    no cache   pack into memory: the most resident memory of the process, beside the packed weights
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kernels.checksum import Checksum
from kernels.cpu import detect_cpu
from kernels.folder import cache_folder
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from service.pull import resolve_model
from tools.peer.random_model import SHAPES, write

MIB = 1 << 20
SEGMENT_BYTES = 2 * MIB
VOCABULARY_MODEL = "gemma-3-270m"
COMPILED = ("numba", "objects")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("models", nargs="*", help="GGUF files or demo models (default: Llama 3.2 1B's shapes, Gemma)")
    options = parser.parse_args()
    models = [resolve_model(name, None) for name in options.models] or _usual_models()
    with _scratch_cache() as cache:
        for path in models:
            _load(path, cache, 0)  # compiles what is missing, reads the file
            measure(path, cache, options.rounds)


def measure(path: Path, cache: Path, rounds: int) -> None:
    plain_s, cold, warm = [], [], []
    without = _load(path, cache, 0)
    for _ in range(rounds):
        plain_s.append(_plain(path, int(without["packed_bytes"]), cache))
        for file in (cache / "packed").glob("*"):
            file.unlink()
        cold.append(_load(path, cache, 1 << 40))
        warm.append(_load(path, cache, 1 << 40))
    assert {facts["outcome"] for facts in cold} == {"miss"}, "a cold start packs"
    assert {facts["outcome"] for facts in warm} == {"hit"}, "a warm start finds"
    packed = without["packed_bytes"]
    print(f"{path.name}: packed {packed / MIB:.0f} MiB")
    pack_s = [facts["stages_s"]["pack"] for facts in cold]
    ratio = statistics.median(cold_s / in_turn_s for cold_s, in_turn_s in zip(pack_s, plain_s, strict=True))
    print(f"  cold      {statistics.median(pack_s):.2f} s; plain {statistics.median(plain_s):.2f} s; ratio {ratio:.2f}")
    read_s, map_s = (statistics.median(facts["stages_s"][stage] for facts in warm) for stage in ("read", "pack"))
    print(f"  warm      {read_s + map_s:.2f} s: file and tokenizer {read_s:.2f} s, weights {map_s:.2f} s")
    peak, before = without["peak_bytes"], without["before_bytes"]
    print(
        f"  no cache  peak {peak / MIB:.0f} MiB, {peak / packed:.3f} of the packed weights; "
        f"without the {before / MIB:.0f} MiB of the process before: {(peak - before) / packed:.2f}",
        flush=True,
    )


def _usual_models() -> list[Path]:
    folder = cache_folder() / "models"
    whole, small = folder / "random-1b-f16.gguf", folder / "random-1b-q4_0.gguf"
    if not whole.exists():
        print(f"writing {whole}", file=sys.stderr)
        write(whole, SHAPES["llama-3.2-1b"])
    if not small.exists():
        command = [sys.executable, "-m", "service.cli", "quantize", str(whole), str(small), "--type", "q4_0"]
        subprocess.run(command, check=True)
    return [small, whole, resolve_model(VOCABULARY_MODEL, None)]


@contextmanager
def _scratch_cache() -> Iterator[Path]:
    """A cache folder with what is compiled, and no packed weights."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        for kind in COMPILED:
            (cache_folder() / kind).mkdir(parents=True, exist_ok=True)
            (Path(name) / kind).symlink_to(cache_folder() / kind)
        yield Path(name)


def _load(path: Path, cache: Path, limit_bytes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.load_times.child", str(path), str(limit_bytes)]
    environ = {**os.environ, "GEMMULE_CACHE": str(cache)}
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def _plain(path: Path, num_bytes: int, folder: Path) -> float:
    """Seconds to read the model file, then checksum, write and fsync so many bytes."""
    digest = Checksum(KernelLibrary(), rungs_for(detect_cpu(), None)[0])
    buffer = np.zeros(SEGMENT_BYTES, np.uint8)
    begun_s = time.perf_counter()
    with path.open("rb", buffering=0) as source:
        while source.readinto(buffer.data):
            pass
    target = folder / "plain"
    with target.open("wb", buffering=0) as file:
        for _ in range(-(-num_bytes // SEGMENT_BYTES)):
            digest(buffer)
            file.write(buffer.data)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begun_s
    target.unlink()
    return seconds


if __name__ == "__main__":
    main()
