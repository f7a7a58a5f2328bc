"""Runs a program's steps on a persistent team of threads, one native call per step. Knows no op and no model."""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Self

from kernels.cpu import usable_cores
from kernels.runtime.program import Program
from kernels.runtime.stats import ExecutorTimes, KernelStats, executor_times, summarise
from kernels.runtime.team_memory import TeamMemory
from kernels.runtime.ticks import tick_rate
from kernels.runtime.trace import Tracer
from kernels.runtime.walk import run_step, run_worker, stop_workers


class Executor:
    """`run` may be called by one thread at a time; it is thread 0 of the team."""

    def __init__(self, program: Program, num_threads: int, num_cores: int | None = None) -> None:
        assert num_threads >= 1, f"{num_threads} threads"
        assert program.num_ops >= 1, "a program without ops"
        self.program = program
        self.num_threads = num_threads
        crowded = num_threads > (usable_cores() if num_cores is None else num_cores)
        self._memory = TeamMemory(program, num_threads, crowded)
        self._run = run_step.ctypes
        self._call_ns = 0
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

    def run(self, step_address: int, first_op: int = 0, end_op: int | None = None) -> None:
        """Walk every op of a range once for the STEP record at this address. Releases the GIL until that is done.

        A step may be walked in parts, in order, with something else in between; None: to the end.
        """
        assert self._close.alive, "the executor is closed"
        end_op = self.program.num_ops if end_op is None else end_op
        assert 0 <= first_op < end_op <= self.program.num_ops, (first_op, end_op)
        begun_ns = time.perf_counter_ns()
        self._run(self._memory.address, step_address, first_op, end_op)
        self._call_ns += time.perf_counter_ns() - begun_ns

    def close(self) -> None:
        """End and join the workers. Twice is fine; not during a step."""
        self._close()

    def kernel_stats(self) -> tuple[KernelStats, ...]:
        """What each kernel has cost so far. May be called from any thread, also during a step."""
        return summarise(self.program.slots, self._memory.stats(), tick_rate())

    def times(self) -> ExecutorTimes:
        """Where the time of the steps so far went, by thread. May be called from any thread, also during a step."""
        return executor_times(self._memory.stats(), self._memory.times(), self._call_ns * 1e-9, tick_rate())

    def count(self, wanted: bool) -> None:
        """Whether the steps from now on are timed and counted: to measure what that costs. Not during a step."""
        self._memory.count(wanted)

    def tracer(self, clock: Callable[[], float] = time.monotonic) -> Tracer:
        """To see the next steps op by op, in the seconds of `clock`. Any thread may use it; one trace at a time."""
        return Tracer(self.program, self._memory, self.num_threads, clock)


def _stop(memory: TeamMemory, threads: list[threading.Thread]) -> None:
    if threads:
        stop_workers.ctypes(memory.address)
    for thread in threads:
        thread.join()
