"""Runs a program's steps on a persistent team of threads, one native call per step. Knows no op and no model."""

import time
from collections.abc import Callable
from typing import Self

from kernels.runtime.program import Program
from kernels.runtime.stats import ExecutorTimes, KernelStats, executor_times, summarise
from kernels.runtime.team import Team
from kernels.runtime.team_memory import TeamMemory
from kernels.runtime.ticks import tick_rate
from kernels.runtime.trace import Tracer
from kernels.runtime.walk import run_step


class Executor:
    """`run` may be called by one thread at a time; it is thread 0 of the team."""

    def __init__(
        self, program: Program, num_threads: int, num_cores: int | None = None, team: Team | None = None
    ) -> None:
        """`team`: one that other executors use, too, and that is closed after them; without, a team of its own."""
        assert program.num_ops >= 1, "a program without ops"
        self.program = program
        self.num_threads = num_threads
        self._team = Team(num_threads, num_cores) if team is None else team
        self._owns_team = team is None
        assert self._team.num_threads == num_threads, f"a team of {self._team.num_threads} for {num_threads} threads"
        self._memory = TeamMemory(program, num_threads, self._team.address)
        self._run = run_step.ctypes
        self._call_ns = 0
        self._turn_ns = 0
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, step_address: int, first_op: int = 0, end_op: int | None = None) -> None:
        """Walk every op of a range once for the STEP record at this address. Releases the GIL until that is done.

        A step may be walked in parts, in order, with something else in between; None: to the end.
        """
        assert self._is_open, "the executor is closed"
        assert self._team.is_open, "the team is closed"
        end_op = self.program.num_ops if end_op is None else end_op
        assert 0 <= first_op < end_op <= self.program.num_ops, (first_op, end_op)
        asked_ns = time.perf_counter_ns()
        with self._team.turns:
            begun_ns = time.perf_counter_ns()
            self._run(self._memory.address, step_address, first_op, end_op)
            self._call_ns += time.perf_counter_ns() - begun_ns
        self._turn_ns += begun_ns - asked_ns

    def close(self) -> None:
        """End and join the workers, if they are its own. Twice is fine; not during a step."""
        self._is_open = False
        if self._owns_team:
            self._team.close()

    def kernel_stats(self) -> tuple[KernelStats, ...]:
        """What each kernel has cost so far. May be called from any thread, also during a step."""
        return summarise(self.program.slots, self._memory.stats(), tick_rate())

    def times(self) -> ExecutorTimes:
        """Where the time of the steps so far went, by thread. May be called from any thread, also during a step."""
        return executor_times(
            self._memory.stats(), self._memory.times(), self._call_ns * 1e-9, self._turn_ns * 1e-9, tick_rate()
        )

    def count(self, wanted: bool) -> None:
        """Whether the steps from now on are timed and counted: to measure what that costs. Not during a step."""
        self._memory.count(wanted)

    def tracer(self, clock: Callable[[], float] = time.monotonic) -> Tracer:
        """To see the next steps op by op, in the seconds of `clock`. Any thread may use it; one trace at a time."""
        return Tracer(self.program, self._memory, self.num_threads, clock)
