"""What each micro-kernel and each thread cost, as values: seconds, bytes, operations. Copies, never resets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.runtime.abi import PHASES
from kernels.runtime.histogram import NUM_BUCKETS
from kernels.runtime.program import KernelSlot


@dataclass(frozen=True, slots=True)
class KernelStats:
    """One micro-kernel in one op and phase, since the executor was made.

    `seconds` is the threads' own work, added up over threads; `barrier_seconds` what they then waited for each other;
    `wall_seconds` what the step spent here, of which `lead_seconds` is the work of thread 0. `histogram` counts the own
    work of each call and thread that came in time (at most calls x threads), by the edges of
    kernels.runtime.histogram.HISTOGRAM_EDGES_S.
    """

    kernel: str
    op: str
    phase: str
    calls: int
    seconds: float
    barrier_seconds: float
    wall_seconds: float
    lead_seconds: float
    units: int
    bytes: int
    operations: int
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """One thread of the team since the executor was made, in seconds.

    `work` + `barrier` + `dispatch` is the wall time of the steps that it was in. Dispatch: from a step's start until
    the thread is at its first op, which for a worker is the time it takes to notice, to wake up or to get a core.
    """

    work: float
    barrier: float
    dispatch: float


@dataclass(frozen=True, slots=True)
class ExecutorTimes:
    """All steps since the executor was made."""

    steps: int
    wall_s: float
    """Native, from the start of a step to its end, on thread 0."""
    call_s: float
    """The same as Python sees it: `call_s - wall_s` went into the calls and into waiting for the GIL after them."""
    threads: tuple[ThreadTimes, ...]
    turn_s: float = 0.0
    """Waited until the team had done the steps of other programs."""


def summarise(slots: Sequence[KernelSlot], stats: npt.NDArray[np.void], rate: float) -> tuple[KernelStats, ...]:
    """`stats`: SLOT_STATS[threads, slots, phases]; rows of one (kernel, op, phase) are added up, idle ones left out."""
    lead: Any = stats[0]
    columns = {
        "calls": lead["calls"],
        "units": lead["units"],
        "idle": lead["idle_calls"],
        "lead": lead["ticks"],
        "wall": lead["ticks"] + lead["barrier_ticks"],
        "ticks": stats["ticks"].sum(axis=0),
        "barrier": stats["barrier_ticks"].sum(axis=0),
    }
    histograms = stats["histogram"].sum(axis=0)
    merged: dict[tuple[str, str, str], _Sum] = {}
    for index, phase in np.argwhere(lead["calls"] > 0).tolist():
        slot = slots[index]
        total = merged.setdefault((slot.kernel, slot.op, PHASES[phase]), _Sum())
        total.add(slot, {name: int(values[index, phase]) for name, values in columns.items()}, histograms[index, phase])
    return tuple(total.stats(*key, rate) for key, total in merged.items())


class _Sum:
    def __init__(self) -> None:
        self.calls = self.units = self.bytes = self.operations = 0
        self.ticks = self.barrier = self.wall = self.lead = 0
        self.histogram = np.zeros(NUM_BUCKETS, np.int64)

    def add(self, slot: KernelSlot, row: dict[str, int], histogram: npt.NDArray[np.int64]) -> None:
        calls, units = row["calls"], row["units"]
        self.calls += calls
        self.units += units
        self.bytes += slot.num_bytes(calls - row["idle"], units)
        self.operations += slot.num_operations(calls - row["idle"], units)
        self.ticks += row["ticks"]
        self.barrier += row["barrier"]
        self.wall += row["wall"]
        self.lead += row["lead"]
        self.histogram += histogram

    def stats(self, kernel: str, op: str, phase: str, rate: float) -> KernelStats:
        return KernelStats(
            kernel=kernel,
            op=op,
            phase=phase,
            calls=self.calls,
            seconds=self.ticks / rate,
            barrier_seconds=self.barrier / rate,
            wall_seconds=self.wall / rate,
            lead_seconds=self.lead / rate,
            units=self.units,
            bytes=self.bytes,
            operations=self.operations,
            histogram=tuple(self.histogram.tolist()),
        )


def executor_times(
    stats: npt.NDArray[np.void], times: npt.NDArray[np.void], call_s: float, turn_s: float, rate: float
) -> ExecutorTimes:
    """`stats`: SLOT_STATS[threads, slots, phases]; `times`: STEP_TIMES[threads, phases]."""
    work = stats["ticks"].sum(axis=(1, 2)) / rate
    barrier = stats["barrier_ticks"].sum(axis=(1, 2)) / rate
    dispatch = times["dispatch_ticks"].sum(axis=1) / rate
    return ExecutorTimes(
        steps=int(times["steps"][0].sum()),
        wall_s=float((times["dispatch_ticks"] + times["walk_ticks"])[0].sum() / rate),
        call_s=call_s,
        threads=tuple(
            ThreadTimes(*row) for row in zip(work.tolist(), barrier.tolist(), dispatch.tolist(), strict=True)
        ),
        turn_s=turn_s,
    )
