"""A family with candidates that runs anywhere, a clock that only runs move, and a bench of such runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from kernels.autotune.task import TileTask
from kernels.cpu.features import CPU
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.ladder import SCALAR
from kernels.registry import family_for
from kernels.runtime.team import Team
from kernels.select import MatmulChoice, choose_matmul

PLAIN = CPU("x86_64", "plain", frozenset(), 128)
Q4_0 = family_for("Q4_0")


def renamed(variant: MatmulVariant, tech: str) -> MatmulVariant:
    """The same code under a name of its own."""
    name = replace(variant.name, tech=tech)
    return replace(variant, name=name, emit=lambda: variant.emit().replace(str(variant.name), str(name)))


def family_with(num_candidates: int) -> Family:
    """Q4_0's scalar GEMM and GEMV, each with so many candidates."""
    gemm = next(v for v in Q4_0.variants if v.rung == SCALAR and not v.is_gemv)
    gemv = Q4_0.gemv_beside(gemm)
    variants: list[MatmulVariant] = []
    for static in (gemm, gemv):
        variants += [static, *(renamed(static, f"candidate{index}") for index in range(num_candidates))]
    return replace(Q4_0, variants=tuple(variants))


FAMILY = family_with(2)
CHOICE = choose_matmul(FAMILY, PLAIN)


def task(n: int = 512, k: int = 512, choice: MatmulChoice = CHOICE) -> TileTask:
    return TileTask(choice, n, k)


class Clock:
    """Seconds that pass when a run says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def run(self, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now_s += seconds

        return run


class FakeBenches:
    """Makes benches whose runs take as long as `seconds` says of a technology's name, and counts them."""

    def __init__(self, clock: Clock, seconds: Mapping[str, float], default_s: float = 1e-3, ready_s: float = 0.0):
        self.clock, self.seconds, self.default_s, self.ready_s = clock, seconds, default_s, ready_s
        self.num_made = 0
        self.turns: list[bool] = []
        self.raced: list[str] = []
        self.gemm_runs: list[Callable[[], None]] = []
        self.gemv_runs: list[Callable[[], None]] = []

    def __call__(
        self,
        task: TileTask,
        gemms: Sequence[MatmulVariant],
        gemvs: Sequence[MatmulVariant],
        library: KernelLibrary,
        team: Team,
        max_rows: int,
    ) -> Self:
        self.num_made += 1
        self.clock.now_s += self.ready_s
        self.raced += [str(variant.name) for variant in (*gemms, *gemvs)]
        self.gemm_runs, self.gemv_runs = (
            [self.clock.run(self.seconds.get(v.name.tech, self.default_s)) for v in variants]
            for variants in (gemms, gemvs)
        )
        return self

    def turn(self, from_memory: bool) -> None:
        self.turns.append(from_memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return
