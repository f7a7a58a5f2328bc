"""Answers tasks: from memory, or by races of the candidates that pass their self-test. Packs nothing.

The time for races is bounded, for a task and for all; tasks that it does not reach keep their static choice, and so do
all where answers could not be remembered: each start would measure anew, and compile what it does not use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from kernels.autotune.memory import Answers, TileAnswer, TileMemory, answers_key
from kernels.autotune.race import Verdict, nothing, race
from kernels.autotune.synthetic import ROWS, SyntheticMatmul, compile_runners
from kernels.autotune.task import TileTask
from kernels.cpu import CPU
from kernels.cpu.caches import last_level_bytes
from kernels.families.variant import MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.jit.sources import package_digest
from kernels.runtime.team import Team
from kernels.select import Check, MatmulChoice

RACE_S = 0.06
"""A race of GEMMs, or of GEMVs."""
TOTAL_S = 1.0
"""All races of a start, and what they run made ready; compiling comes on top of it."""
SHARE_OF_CACHE = 2
"""Weights that fill more than this part of a last level cache, which others share, come from memory."""


class Tuning(Enum):
    """Where a start's tiles come from."""

    MEASURED = "measured"
    REMEMBERED = "remembered"
    STATIC = "static"
    """There is nothing to choose from, or no folder to remember it in."""
    OFF = "off"
    """Not wanted."""


class Bench(Protocol):
    """kernels.autotune.synthetic.SyntheticMatmul."""

    gemm_runs: list[Callable[[], None]]
    gemv_runs: list[Callable[[], None]]

    def turn(self, from_memory: bool) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


Variants = Sequence[MatmulVariant]
Prepare = Callable[[TileTask, Variants, Variants, KernelLibrary, Team, int], Bench]


class Autotuner:
    """`outcome` says afterwards where the choices came from."""

    def __init__(
        self,
        cpu: CPU,
        num_threads: int,
        max_rows: int,
        library: KernelLibrary,
        check: Check,
        folder: Path,
        *,
        wanted: bool = True,
        team: Team | None = None,
        clock: Callable[[], float] = time.perf_counter,
        prepare: Prepare = SyntheticMatmul,
    ) -> None:
        """max_rows: tokens of a step. check: what candidates must pass. folder: of what is remembered. wanted: False
        gives the static choices. team: that serves; without, one of its own.
        """
        self._cpu, self._num_threads, self._max_rows = cpu, num_threads, max_rows
        self._library, self._check, self._memory = library, check, TileMemory(folder)
        self._team, self._clock, self._prepare = team, clock, prepare
        self.outcome = Tuning.STATIC if wanted else Tuning.OFF

    def __call__(self, tasks: Sequence[TileTask]) -> list[MatmulChoice]:
        """One choice for each task, of the same family and packed weights as its static one."""
        if self.outcome is Tuning.OFF:
            return [task.choice for task in tasks]
        different = {task.identity: task for task in tasks}
        asked = {task.key: task for task in different.values() if task.is_open}
        num_bytes = sum(task.num_bytes for task in tasks)
        answers = self._answers(asked, num_bytes > last_level_bytes() // SHARE_OF_CACHE) if asked else {}
        choices = {identity: self._applied(task, answers) for identity, task in different.items()}
        return [choices[task.identity] for task in tasks]

    def _answers(self, tasks: Mapping[str, TileTask], from_memory: bool) -> Answers:
        """tasks: by their keys. from_memory: a decode's weights come from there."""
        rows = min(ROWS, self._max_rows)
        machine = (self._cpu.name, *sorted(self._cpu.features), self._num_threads, rows, from_memory, package_digest())
        key = answers_key(machine, tasks)
        found = self._memory.find(key)
        if found is not None:
            self.outcome = Tuning.REMEMBERED
            return found
        if not self._memory.make_folder():
            return {}
        self.outcome = Tuning.MEASURED
        compile_runners()
        with nullcontext(self._team) if self._team else Team(self._num_threads) as team:
            answers = self._measured(tasks, team, from_memory)
        self._memory.keep(key, answers)
        return answers

    def _measured(self, tasks: Mapping[str, TileTask], team: Team, from_memory: bool) -> Answers:
        answers: dict[str, TileAnswer] = {}
        left_s = TOTAL_S
        for key, task in tasks.items():
            gemms, gemvs = self._sound(task)
            begun_s = self._clock()
            answers[key] = self._raced(task, gemms, gemvs, team, left_s, from_memory)
            left_s -= self._clock() - begun_s
        return answers

    def _sound(self, task: TileTask) -> tuple[Variants, Variants]:
        """GEMMs and GEMVs: the static one, then the candidates that pass their self-test beside it."""
        static, gemms, gemvs = task.choice, task.gemms, task.gemvs
        self._library.load([(str(variant.name), variant.emit) for variant in (*gemms, *gemvs)])
        return (
            [gemms[0], *(v for v in gemms[1:] if self._check(static.family, v, static.gemv) is None)],
            [gemvs[0], *(v for v in gemvs[1:] if self._check(static.family, static.gemm, v) is None)],
        )

    def _raced(
        self, task: TileTask, gemms: Variants, gemvs: Variants, team: Team, left_s: float, from_memory: bool
    ) -> TileAnswer:
        if left_s <= 0:
            return _answer(gemms, None, gemvs, None)
        end_s = self._clock() + left_s
        with self._prepare(task, gemms, gemvs, self._library, team, self._max_rows) as bench:
            of_gemms = self._race(bench.gemm_runs, end_s)
            of_gemvs = self._race(bench.gemv_runs, end_s, partial(bench.turn, from_memory))
            return _answer(gemms, of_gemms, gemvs, of_gemvs)

    def _race(
        self, runs: Sequence[Callable[[], None]], end_s: float, prepare: Callable[[], None] = nothing
    ) -> Verdict | None:
        if len(runs) == 1 or self._clock() >= end_s:
            return None
        return race(runs, self._clock, min(RACE_S, end_s - self._clock()), prepare)

    def _applied(self, task: TileTask, answers: Answers) -> MatmulChoice:
        """The static choice, unless other tiles are known to be faster and are right in this process, too."""
        static = task.choice
        answer = answers.get(task.key) if task.is_open else None
        if answer is None:
            return static
        gemm = next((v for v in task.gemms if str(v.name) == answer.gemm), static.gemm)
        gemv = next((v for v in task.gemvs if str(v.name) == answer.gemv), static.gemv)
        if self._check(static.family, gemm, gemv) is not None:
            return static
        return replace(static, gemm=gemm, gemv=gemv, gemm_gain=answer.gemm_gain, gemv_gain=answer.gemv_gain)


def _answer(gemms: Variants, of_gemms: Verdict | None, gemvs: Variants, of_gemvs: Verdict | None) -> TileAnswer:
    """Without a verdict: the static one, nothing said of it."""
    gemm, gemm_gain = (gemms[of_gemms.winner], of_gemms.gain) if of_gemms else (gemms[0], None)
    gemv, gemv_gain = (gemvs[of_gemvs.winner], of_gemvs.gain) if of_gemvs else (gemvs[0], None)
    return TileAnswer(str(gemm.name), str(gemv.name), gemm_gain, gemv_gain)
