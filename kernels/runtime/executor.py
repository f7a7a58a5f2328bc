"""Runs a program's steps on a persistent team of threads, one native call per step. Knows no op and no model."""

import ctypes
import platform
import threading
import weakref
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from kernels.cpu import usable_cores
from kernels.runtime.abi import CACHE_LINE, PHASES, THREAD, THREAD_BYTES
from kernels.runtime.program import Program, aligned_zeros
from kernels.runtime.stats import KernelStats, summarise
from kernels.runtime.ticks import nanosecond_scale, tick_rate
from kernels.runtime.walk import SLOT_STATS, TEAM, run_step, run_worker, stop_workers

# A waiting thread spins through the tail of an op, then gives its core to whoever wants it (perhaps the thread that is
# waited for) but comes back at once if nobody does, then sleeps. Idle workers wait likewise through the gap between two
# steps: waking one from its sleep takes some 40 us.
SPIN_S: Final = 20e-6
YIELD_S: Final = 1e-3
PARK_S: Final = 20e-6
PARK_YIELD_S: Final = 300e-6

# (futex, sched_yield)
_SYSCALLS: Final = {"x86_64": (202, 24), "AMD64": (202, 24), "aarch64": (98, 124), "arm64": (98, 124)}
_PAGE: Final = 4096


class Executor:
    """`run` may be called by one thread at a time; it is thread 0 of the team."""

    def __init__(self, program: Program, num_threads: int, num_cores: int | None = None) -> None:
        assert num_threads >= 1, f"{num_threads} threads"
        assert program.num_ops >= 1, "a program without ops"
        self.program = program
        self.num_threads = num_threads
        crowded = num_threads > (usable_cores() if num_cores is None else num_cores)
        self._memory = _TeamMemory(program, num_threads, crowded)
        self._run = run_step.ctypes
        self._threads = [
            threading.Thread(
                target=run_worker.ctypes, args=(self._memory.address, index), name=f"gemmule-{index}", daemon=True
            )
            for index in range(1, num_threads)
        ]
        for thread in self._threads:
            thread.start()
        # Also at interpreter exit, where daemon threads would be cut off in native code.
        self._close = weakref.finalize(self, _stop, self._memory, self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, step_address: int) -> None:
        """Walk every op once for the STEP record at this address. Releases the GIL until the step is done."""
        assert self._close.alive, "the executor is closed"
        self._run(self._memory.address, step_address)

    def close(self) -> None:
        """End and join the workers. Twice is fine; not during a step."""
        self._close()

    def kernel_stats(self) -> tuple[KernelStats, ...]:
        """What each kernel has cost so far. May be called from any thread, also during a step."""
        return summarise(self.program.slots, self._memory.stats(), tick_rate())


class _TeamMemory:
    """The records that the threads share; outlives the executor until the workers are joined."""

    def __init__(self, program: Program, num_threads: int, crowded: bool) -> None:
        self._program = program
        self._num_threads = num_threads
        num_slots = len(program.slots)
        self._stats_bytes = num_slots * len(PHASES) * SLOT_STATS.itemsize
        stats_stride = -(-self._stats_bytes // (2 * CACHE_LINE)) * 2 * CACHE_LINE
        scratch_stride = -(-program.scratch_bytes // _PAGE) * _PAGE
        self._counters = aligned_zeros(program.num_ops * CACHE_LINE, CACHE_LINE)
        self._stats = aligned_zeros(num_threads * stats_stride, CACHE_LINE).reshape(num_threads, stats_stride)
        self._scratch = aligned_zeros(num_threads * scratch_stride, _PAGE)
        self._threads = aligned_zeros(num_threads * THREAD_BYTES, 2 * CACHE_LINE).view(THREAD)
        self._team = aligned_zeros(TEAM.itemsize, CACHE_LINE).view(TEAM)
        self.address = int(self._team.ctypes.data)

        for index in range(num_threads):
            row: Any = self._threads[index]
            row["index"], row["num_threads"] = index, num_threads
            row["scratch"] = self._scratch.ctypes.data + index * scratch_stride
            row["scratch_bytes"] = program.scratch_bytes
            row["counters"] = self._counters.ctypes.data
        rate = tick_rate()
        futex, sched_yield = _SYSCALLS[platform.machine()]
        values = {
            "ops": program.records.ctypes.data,
            "num_ops": program.num_ops,
            "num_threads": num_threads,
            "threads": self._threads.ctypes.data,
            "stats": self._stats.ctypes.data,
            "stats_stride": stats_stride,
            "counters": self._counters.ctypes.data,
            "syscall": ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value,
            "futex": futex,
            "sched_yield": sched_yield,
            # With more threads than cores, who spins keeps the core from who works.
            "spin_ticks": 0 if crowded else int(SPIN_S * rate),
            "yield_ticks": int(YIELD_S * rate),
            "park_ticks": 0 if crowded else int(PARK_S * rate),
            "park_yield_ticks": 0 if crowded else int(PARK_YIELD_S * rate),
            "tick_scale": nanosecond_scale(rate),
        }
        for name, value in values.items():
            self._team[name] = value

    def stats(self) -> npt.NDArray[np.void]:
        """A copy: SLOT_STATS[threads, slots, phases]."""
        raw = self._stats[:, : self._stats_bytes].copy()
        return raw.view(SLOT_STATS).reshape(self._num_threads, -1, len(PHASES))


def _stop(memory: _TeamMemory, threads: list[threading.Thread]) -> None:
    if threads:
        stop_workers.ctypes(memory.address)
    for thread in threads:
        thread.join()
