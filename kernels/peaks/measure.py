"""Runs the peak loops on a team like the one that serves: bytes/s and operations/s of all its threads together.

Takes some 50 ms: done once, at load, before the first request. The best of a few runs counts, for a roof is what the
machine can do, not what its neighbours leave of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kernels.cpu.caches import last_level_bytes
from kernels.jit.call import call_kernel
from kernels.jit.function import op_function
from kernels.jit.library import KernelLibrary
from kernels.jit.native import record
from kernels.ladder import Rung
from kernels.peaks.emit import KINDS, READ_BYTES, PeakLoop, compute_loop, read_loop
from kernels.runtime.abi import STEP, THREAD, op_record
from kernels.runtime.chunks import take_chunk
from kernels.runtime.executor import Executor
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

COMPUTE_TURNS: Final = 100_000  # of each thread: a millisecond or two
READ_CHUNK_BYTES: Final = 256 << 10
LEAST_READ_BYTES: Final = 32 << 20
MOST_READ_BYTES: Final = 256 << 20
NUM_RUNS: Final = 4

PEAK: Final = op_record(
    [("kernel", "i8"), ("data", "i8"), ("turns", "i8"), ("chunk_turns", "i8"), ("chunk_bytes", "i8")]
)


@dataclass(frozen=True, slots=True)
class Peaks:
    """Of `num_threads` threads together. `operations_per_s`: by kind of the loop, "int8" and "f32"."""

    rung: str
    num_threads: int
    bytes_per_s: float
    operations_per_s: Mapping[str, float]


@op_function
def peak(op_address: int, thread_address: int) -> int:
    """chunk_turns 0: every thread does all turns; else they share them, chunk by chunk of `data`."""
    op: Any = record(op_address, PEAK)
    thread: Any = record(thread_address, THREAD)
    if op.chunk_turns == 0:
        call_kernel(op.kernel, (op.turns, op.data))
        return 0
    while True:
        first = take_chunk(op, thread, op.chunk_turns)
        if first >= op.turns:
            return 0
        call_kernel(op.kernel, (op.chunk_turns, op.data + first // op.chunk_turns * op.chunk_bytes))


def measure_peaks(
    rung: Rung, num_threads: int, library: KernelLibrary, read_bytes: int | None = None, turns: int = COMPUTE_TURNS
) -> Peaks:
    """`rung`: whose instructions compute. `read_bytes`: by default more than the caches hold; in chunks of 256 KiB."""
    size = read_bytes or min(max(2 * last_level_bytes(), LEAST_READ_BYTES), MOST_READ_BYTES)
    size -= size % READ_CHUNK_BYTES
    data = np.ones(size, np.uint8)  # ones: zeros that were never written are all one page
    reading, computing = read_loop(rung), [compute_loop(rung, kind) for kind in KINDS]
    library.load([(loop.name, lambda loop=loop: loop.text) for loop in (reading, *computing)])  # type: ignore[misc]
    address = int(data.ctypes.data)
    read_s = _best_s(library, reading, num_threads, address, size // READ_BYTES, READ_CHUNK_BYTES)
    zeros = np.zeros(256, np.uint8)
    operations = {}
    for kind, loop in zip(KINDS, computing, strict=True):
        took_s = _best_s(library, loop, num_threads, int(zeros.ctypes.data), turns, 0)
        operations[kind] = loop.per_turn * turns * num_threads / took_s
    return Peaks(rung.name, num_threads, size / read_s, operations)


def _best_s(library: KernelLibrary, loop: PeakLoop, num_threads: int, data: int, turns: int, chunk_bytes: int) -> float:
    """Seconds of the best of some runs."""
    builder = ProgramBuilder()
    args: dict[str, int | float | Buffer] = {
        "kernel": library.address(loop.name),
        "data": data,
        "turns": turns,
        "chunk_turns": chunk_bytes // loop.per_turn,
        "chunk_bytes": chunk_bytes,
    }
    builder.op("peak", record=PEAK, run=peak.address, slots=(KernelSlot("peak", loop.name),), args=args)
    step = np.zeros(1, STEP)
    taken: list[float] = []
    with Executor(builder.build(), num_threads) as executor:
        for _ in range(NUM_RUNS):
            before_s = executor.times().wall_s
            executor.run(int(step.ctypes.data))
            taken.append(executor.times().wall_s - before_s)
    return min(taken)
