"""What each micro-kernel cost, as values: seconds, bytes, operations, latency histogram. Copies, never resets."""

from collections.abc import Iterable
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
    `wall_seconds` what the step spent here. `histogram` counts the own work of each thread and call (so it adds up to
    calls x threads), by the edges of kernels.runtime.histogram.HISTOGRAM_EDGES_S.
    """

    kernel: str
    op: str
    phase: str
    calls: int
    seconds: float
    barrier_seconds: float
    wall_seconds: float
    units: int
    bytes: int
    operations: int
    histogram: tuple[int, ...]


def summarise(slots: Iterable[KernelSlot], stats: npt.NDArray[np.void], rate: float) -> tuple[KernelStats, ...]:
    """`stats`: SLOT_STATS[threads, slots, phases]; rows of one (kernel, op, phase) are added up, idle ones left out."""
    merged: dict[tuple[str, str, str], _Sum] = {}
    for index, slot in enumerate(slots):
        for phase, phase_name in enumerate(PHASES):
            rows: Any = stats[:, index, phase]
            calls = int(rows["calls"][0])
            if calls:
                key = (slot.kernel, slot.op, phase_name)
                merged.setdefault(key, _Sum()).add(slot, rows)
    return tuple(total.stats(*key, rate) for key, total in merged.items())


class _Sum:
    def __init__(self) -> None:
        self.calls = self.units = self.bytes = self.operations = 0
        self.ticks = self.barrier_ticks = self.wall_ticks = 0
        self.histogram = np.zeros(NUM_BUCKETS, np.int64)

    def add(self, slot: KernelSlot, rows: Any) -> None:
        calls, units = int(rows["calls"][0]), int(rows["units"][0])
        self.calls += calls
        self.units += units
        self.bytes += calls * slot.bytes_per_call + units * slot.bytes_per_unit
        self.operations += calls * slot.operations_per_call + units * slot.operations_per_unit
        self.ticks += int(rows["ticks"].sum())
        self.barrier_ticks += int(rows["barrier_ticks"].sum())
        self.wall_ticks += int(rows["ticks"][0] + rows["barrier_ticks"][0])
        self.histogram += rows["histogram"].sum(axis=0)

    def stats(self, kernel: str, op: str, phase: str, rate: float) -> KernelStats:
        return KernelStats(
            kernel=kernel,
            op=op,
            phase=phase,
            calls=self.calls,
            seconds=self.ticks / rate,
            barrier_seconds=self.barrier_ticks / rate,
            wall_seconds=self.wall_ticks / rate,
            units=self.units,
            bytes=self.bytes,
            operations=self.operations,
            histogram=tuple(int(count) for count in self.histogram),
        )
