"""The records that the threads of a team share: who works on what, what it cost, the trace. Knows no op."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.runtime.abi import CACHE_LINE, PHASES, THREAD, THREAD_BYTES
from kernels.runtime.program import Program, aligned_zeros
from kernels.runtime.ticks import nanosecond_scale, tick_rate
from kernels.runtime.walk import SLICE, SLOT_STATS, STEP_TIMES, TEAM, TRACE, TRACED_STEP

_PAGE: Final = 4096
MOST_SHARES: Final = 8
"""Of an op's chunks: whoever is done looks at all of them."""
_TWO_LINES: Final = 2 * CACHE_LINE  # apart from what other threads write, also for a prefetcher of pairs of lines


class TeamMemory:
    """Outlives the executor until the workers are joined."""

    def __init__(self, program: Program, num_threads: int, crew_address: int) -> None:
        """`crew_address`: of the CREW whose workers walk along."""
        self._program = program
        self._num_threads = num_threads
        num_slots = len(program.slots)
        self._stats_bytes = num_slots * len(PHASES) * SLOT_STATS.itemsize
        self._times_bytes = len(PHASES) * STEP_TIMES.itemsize
        stats_stride = -(-self._stats_bytes // _TWO_LINES) * _TWO_LINES
        times_stride = -(-self._times_bytes // _TWO_LINES) * _TWO_LINES
        scratch_stride = -(-program.scratch_bytes // _PAGE) * _PAGE
        num_shares = min(num_threads, MOST_SHARES)
        self._counters = aligned_zeros(program.num_ops * num_shares * CACHE_LINE, CACHE_LINE)
        self._stats = aligned_zeros(num_threads * stats_stride, CACHE_LINE).reshape(num_threads, stats_stride)
        self._times = aligned_zeros(num_threads * times_stride, _TWO_LINES).reshape(num_threads, times_stride)
        self._scratch = aligned_zeros(num_threads * scratch_stride, _PAGE)
        self._threads = aligned_zeros(num_threads * THREAD_BYTES, _TWO_LINES).view(THREAD)
        self._team = aligned_zeros(TEAM.itemsize, CACHE_LINE).view(TEAM)
        self._trace = aligned_zeros(TRACE.itemsize, CACHE_LINE).view(TRACE)
        self._traced: tuple[npt.NDArray[np.void], npt.NDArray[np.void]] | None = None
        self.address = int(self._team.ctypes.data)

        for index in range(num_threads):
            row: Any = self._threads[index]
            row["index"], row["num_threads"] = index, num_threads
            row["scratch"] = self._scratch.ctypes.data + index * scratch_stride
            row["scratch_bytes"] = program.scratch_bytes
            row["counters"] = self._counters.ctypes.data
            row["num_shares"], row["share"] = num_shares, index * num_shares // num_threads
            row["times"] = self._times.ctypes.data + index * times_stride
        values = {
            "ops": program.records.ctypes.data,
            "num_ops": program.num_ops,
            "num_threads": num_threads,
            "threads": self._threads.ctypes.data,
            "stats": self._stats.ctypes.data,
            "stats_stride": stats_stride,
            "tick_scale": nanosecond_scale(tick_rate()),
            "trace": self._trace.ctypes.data,
            "crew": crew_address,
            "ahead": program.ahead.ctypes.data,
        }
        for name, value in values.items():
            self._team[name] = value

    def stats(self) -> npt.NDArray[np.void]:
        """A copy: SLOT_STATS[threads, slots, phases]."""
        raw = self._stats[:, : self._stats_bytes].copy()
        return raw.view(SLOT_STATS).reshape(self._num_threads, -1, len(PHASES))

    def times(self) -> npt.NDArray[np.void]:
        """A copy: STEP_TIMES[threads, phases]."""
        raw = self._times[:, : self._times_bytes].copy()
        return raw.view(STEP_TIMES).reshape(self._num_threads, len(PHASES))

    def count(self, wanted: bool) -> None:
        """Count what follows, or nothing of it: not during a step."""
        self._team["untimed"] = int(not wanted)

    # The trace: Python sets `wanted` while no traced step runs, the team counts `taken` up to it.

    @property
    def is_tracing(self) -> bool:
        """A step that is traced is under way, or the next one will be."""
        trace: Any = self._trace[0]
        return bool(trace["active"] or trace["taken"] < trace["wanted"])

    @property
    def num_traced(self) -> int:
        return int(self._trace["taken"][0])

    def begin_trace(self, num_steps: int) -> None:
        """From the next step on; what was traced before is forgotten."""
        assert not self.is_tracing, "one trace at a time"
        trace = self._trace
        trace["wanted"] = 0
        steps = np.zeros(num_steps, TRACED_STEP)
        slices = np.zeros((self._num_threads, num_steps, self._program.num_ops), SLICE)  # untouched pages cost nothing
        self._traced = steps, slices
        trace["taken"] = 0
        trace["steps"], trace["slices"] = steps.ctypes.data, slices.ctypes.data
        trace["thread_stride"], trace["step_stride"] = slices.strides[:2]
        trace["wanted"] = num_steps  # last: from here on the team reads the rest

    def end_trace(self) -> None:
        """No further steps; the one under way is still written, so its memory stays until the next trace begins."""
        self._trace["wanted"] = 0

    def traced(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Copies: TRACED_STEP[steps] and SLICE[threads, steps, ops] of the whole steps so far."""
        if self._traced is None:
            return np.zeros(0, TRACED_STEP), np.zeros((self._num_threads, 0, self._program.num_ops), SLICE)
        steps, slices = self._traced
        count = min(self.num_traced, len(steps))
        return steps[:count].copy(), slices[:, :count].copy()
