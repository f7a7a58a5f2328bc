"""A trace of whole steps as values: which thread worked on which op from when to when. Knows no file format.

Times are seconds by the clock that the trace was given, so that Python's own phases stand beside them.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from kernels.runtime.abi import OP_HEADER, PHASES
from kernels.runtime.program import KernelSlot, Program
from kernels.runtime.team_memory import TeamMemory
from kernels.runtime.ticks import ticks_now

MAX_TRACED_STEPS: Final = 256


@dataclass(frozen=True, slots=True)
class TracedStep:
    """From the start of a step to its end, on thread 0."""

    start_s: float
    end_s: float
    phase: str
    num_tokens: int
    num_sequences: int
    num_logit_rows: int


@dataclass(frozen=True, slots=True)
class TracedOp:
    """One op on one thread: own work from `start_s` to `end_s`, then the barrier up to `barrier_end_s`."""

    step: int
    thread: int
    index: int
    """Its place in the program."""
    name: str
    kernel: str
    start_s: float
    end_s: float
    barrier_end_s: float
    units: int
    bytes: int
    """Of the whole op, all threads together; so are `operations`."""
    operations: int


@dataclass(frozen=True, slots=True)
class Trace:
    steps: tuple[TracedStep, ...]
    ops: tuple[TracedOp, ...]
    num_threads: int


class Tracer:
    """Traces the next steps of a team, once: `begin`, look at `is_done` from time to time, `end`.

    Ticks become seconds by two readings of both clocks, one before the steps and one after them.
    """

    def __init__(
        self,
        program: Program,
        memory: TeamMemory,
        num_threads: int,
        clock: Callable[[], float] = time.monotonic,
        ticks: Callable[[], int] = ticks_now,
    ) -> None:
        self._program, self._memory, self._num_threads = program, memory, num_threads
        self._clock, self._ticks = clock, ticks
        self._begun = (0, 0.0)

    @property
    def is_busy(self) -> bool:
        """Another trace is under way."""
        return self._memory.is_tracing

    def begin(self, num_steps: int) -> None:
        assert 1 <= num_steps <= MAX_TRACED_STEPS, num_steps
        self._begun = self._both()
        self._memory.begin_trace(num_steps)

    @property
    def is_done(self) -> bool:
        return not self._memory.is_tracing

    def end(self) -> Trace:
        """What was traced until now; a step under way is left out."""
        self._memory.end_trace()
        steps, slices = self._memory.traced()
        (ticks0, seconds0), (ticks1, seconds1) = self._begun, self._both()
        scale = (seconds1 - seconds0) / max(1, ticks1 - ticks0)

        def seconds(ticks: Any) -> float:
            return seconds0 + (int(ticks) - ticks0) * scale

        return Trace(
            steps=tuple(
                TracedStep(seconds(row["start"]), seconds(row["end"]), PHASES[row["phase"]], *map(int, row.item()[3:]))
                for row in steps
            ),
            ops=tuple(self._ops(slices, seconds)),
            num_threads=self._num_threads,
        )

    def _ops(self, slices: Any, seconds: Callable[[Any], float]) -> Iterator[TracedOp]:
        slots = self._slots()
        for thread, of_thread in enumerate(slices):
            for step, ops in enumerate(of_thread):
                for index, row in enumerate(ops.tolist()):
                    start, end, barrier_end, units, variant = row
                    if start == 0:
                        continue  # done before this thread had joined the step
                    slot = slots[index][variant]
                    yield TracedOp(
                        step=step,
                        thread=thread,
                        index=index,
                        name=slot.op,
                        kernel=slot.kernel,
                        start_s=seconds(start),
                        end_s=seconds(end),
                        barrier_end_s=seconds(barrier_end),
                        units=units,
                        bytes=slot.num_bytes(int(units > 0), units),
                        operations=slot.num_operations(int(units > 0), units),
                    )

    def _slots(self) -> list[tuple[KernelSlot, ...]]:
        """Of each op, for its variants."""
        headers = self._program.records[:, : OP_HEADER.itemsize].copy().view(OP_HEADER).reshape(-1)
        slots = self._program.slots
        return [tuple(slots[slot] for slot in of_op) for of_op in headers["slots"].tolist()]

    def _both(self) -> tuple[int, float]:
        """Both clocks at the same time: the reading of three that took the shortest."""
        readings = []
        for _ in range(3):
            before = self._clock()
            ticks = self._ticks()
            after = self._clock()
            readings.append((after - before, ticks, (before + after) / 2))
        _, ticks, seconds = min(readings)
        return ticks, seconds
