"""Runs the peak loops on a team like the one that serves: bytes/s and operations/s of all its threads together.

Takes some 50 ms: done once, at load, before the first request. The best of a few runs counts, for a roof is what the
machine can do, not what its neighbours leave of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

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
CHUNKS_PER_THREAD: Final = 16  # of these turns
READ_CHUNK_BYTES: Final = 1 << 20
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
    """The threads share the turns, chunk by chunk of `data`, or all on the same if chunk_bytes is 0."""
    op: Any = record(op_address, PEAK)
    thread: Any = record(thread_address, THREAD)
    while True:
        first = take_chunk(op, thread, op.chunk_turns, op.turns)
        if first >= op.turns:
            return 0
        turns = min(op.chunk_turns, op.turns - first)
        call_kernel(op.kernel, (turns, op.data + first // op.chunk_turns * op.chunk_bytes))


class TeamLoop:
    """A loop on a team of its own, `turns` in all. `chunk_bytes`: from the `data` of a chunk to that of the next."""

    def __init__(
        self,
        loop: PeakLoop,
        turns: int,
        data: int,
        num_threads: int,
        library: KernelLibrary,
        *,
        chunk_turns: int,
        chunk_bytes: int = 0,
    ) -> None:
        library.load([(loop.name, lambda: loop.text)])
        builder = ProgramBuilder()
        args: dict[str, int | float | Buffer] = {
            "kernel": library.address(loop.name),
            "data": data,
            "turns": turns,
            "chunk_turns": chunk_turns,
            "chunk_bytes": chunk_bytes,
        }
        builder.op("peak", record=PEAK, run=peak.address, slots=(KernelSlot("peak", loop.name),), args=args)
        self._step = np.zeros(1, STEP)
        self._executor = Executor(builder.build(), num_threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.close()

    def seconds(self) -> float:
        """Of one run."""
        before_s = self._executor.times().wall_s
        self._executor.run(int(self._step.ctypes.data))
        return self._executor.times().wall_s - before_s


class MemoryReader(TeamLoop):
    """Vector loads over all of `memory`: the most that a GEMV over cold weights could reach."""

    def __init__(self, rung: Rung, memory: npt.NDArray[np.uint8], num_threads: int, library: KernelLibrary) -> None:
        turns = memory.size // READ_BYTES
        super().__init__(
            read_loop(rung),
            turns,
            int(memory.ctypes.data),
            num_threads,
            library,
            chunk_turns=READ_CHUNK_BYTES // READ_BYTES,
            chunk_bytes=READ_CHUNK_BYTES,
        )
        self._num_bytes = turns * READ_BYTES

    def bytes_per_s(self) -> float:
        """Of one pass."""
        return self._num_bytes / self.seconds()


def measure_peaks(
    rung: Rung, num_threads: int, library: KernelLibrary, read_bytes: int | None = None, turns: int = COMPUTE_TURNS
) -> Peaks:
    """`rung`: whose instructions compute. `read_bytes`: by default more than the caches hold."""
    size = read_bytes or min(max(2 * last_level_bytes(), LEAST_READ_BYTES), MOST_READ_BYTES)
    data = np.ones(size, np.uint8)  # ones: zeros that were never written are all one page
    computing = {kind: compute_loop(rung, kind) for kind in KINDS}
    library.load([(loop.name, lambda loop=loop: loop.text) for loop in (read_loop(rung), *computing.values())])  # type: ignore[misc]
    with MemoryReader(rung, data, num_threads, library) as reader:
        bytes_per_s = max(reader.bytes_per_s() for _ in range(NUM_RUNS))
    zeros = np.zeros(256, np.uint8)
    operations = {}
    for kind, loop in computing.items():
        all_turns, chunk_turns = turns * num_threads, max(1, turns // CHUNKS_PER_THREAD)
        address = int(zeros.ctypes.data)
        with TeamLoop(loop, all_turns, address, num_threads, library, chunk_turns=chunk_turns) as team_loop:
            best_s = min(team_loop.seconds() for _ in range(NUM_RUNS))
        operations[kind] = loop.per_turn * all_turns / best_s
    return Peaks(rung.name, num_threads, bytes_per_s, operations)
