"""CPU features -> the GEMM and GEMV of a family, best rung first, with the reason. Compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from kernels.cpu import CPU
from kernels.errors import KernelsError
from kernels.families.variant import Family, MatmulVariant, PackedLhs, PackedRhs
from kernels.ladder import Rung, rungs_for

Check: TypeAlias = Callable[[Family, MatmulVariant, MatmulVariant], str | None]
"""Why a pair of GEMM and GEMV must not be used, None if it may: kernels.self_test."""


class NoRungLeft(KernelsError):
    """Every rung of a family failed its check."""


def unchecked(family: Family, gemm: MatmulVariant, gemv: MatmulVariant) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class MatmulChoice:
    """Two micro-kernels that read the same packed RHS.

    reason: of the rung. gemm_gain, gemv_gain: times as fast as the static choice, measured on this machine; None where
    nothing was measured, 1 where the static choice stays.
    """

    family: Family
    gemm: MatmulVariant
    gemv: MatmulVariant
    reason: str
    gemm_gain: float | None = None
    gemv_gain: float | None = None

    @property
    def rhs(self) -> PackedRhs:
        return self.gemm.rhs

    @property
    def lhs_layouts(self) -> tuple[PackedLhs, PackedLhs]:
        """The GEMM's and the GEMV's."""
        return self.gemm.lhs, self.gemv.lhs

    @property
    def rung(self) -> Rung:
        return self.gemm.rung

    @property
    def gemm_reason(self) -> str:
        """Why this tile."""
        return _tile_reason(self.gemm_gain)

    @property
    def gemv_reason(self) -> str:
        return _tile_reason(self.gemv_gain)


def choose_matmul(family: Family, cpu: CPU, cap: str | None = None, check: Check = unchecked) -> MatmulChoice:
    """The best rung that this CPU has, that `cap` allows, that the family is written for and that passes `check`.

    Raises NoRungLeft.
    """
    skipped: list[str] = []
    failed: list[str] = []
    for rung in rungs_for(cpu, cap):
        here = [variant for variant in family.variants if variant.rung == rung]
        if not here:
            skipped.append(rung.name)
            continue
        gemm = next(variant for variant in here if not variant.is_gemv)
        gemv = family.gemv_beside(gemm)
        fault = check(family, gemm, gemv)
        if fault is None:
            return MatmulChoice(family, gemm, gemv, _reason(rung, cap, skipped, failed))
        failed.append(f"{rung.name} failed its self-test ({fault})")
    assert failed, f"{family.name} lacks a scalar rung"
    raise NoRungLeft(f"no micro-kernel for {family.source} works here: {'; '.join(failed)}")


def _reason(rung: Rung, cap: str | None, skipped: list[str], failed: list[str]) -> str:
    best = f"capped at {cap}" if cap else "best rung of this CPU"
    without = f", none written for {', '.join(skipped)}" if skipped else ""
    return "; ".join([f"{rung.name}: {best}{without}", *failed])


def _tile_reason(gain: float | None) -> str:
    if gain is None:
        return "static"
    return "static, none measured faster" if gain == 1 else f"measured {gain:.2f} times the static one"
