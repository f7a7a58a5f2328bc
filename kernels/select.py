"""CPU features -> the GEMM and GEMV of a family, best rung first, with the reason. Compiles nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernels.cpu import CPU
from kernels.families.variant import Family, MatmulVariant, PackedRhs
from kernels.ladder import Rung, rungs_for


@dataclass(frozen=True, slots=True)
class MatmulChoice:
    """Two micro-kernels that read the same packed RHS."""

    family: Family
    gemm: MatmulVariant
    gemv: MatmulVariant
    reason: str

    @property
    def rhs(self) -> PackedRhs:
        return self.gemm.rhs

    @property
    def rung(self) -> Rung:
        return self.gemm.rung


def choose_matmul(family: Family, cpu: CPU, cap: str | None = None) -> MatmulChoice:
    """The best rung that this CPU has, that `cap` allows and that the family is written for."""
    skipped: list[str] = []
    for rung in rungs_for(cpu, cap):
        here = [variant for variant in family.variants if variant.rung == rung]
        if not here:
            skipped.append(rung.name)
            continue
        gemm = next(variant for variant in here if not variant.is_gemv)
        gemv = next(variant for variant in here if variant.is_gemv)
        assert gemm.rhs == gemv.rhs, f"{gemm.name} and {gemv.name} must share one packed RHS"
        return MatmulChoice(family, gemm, gemv, _reason(rung, cap, skipped))
    raise AssertionError(f"{family.name} lacks a scalar rung")


def choose_together(families: Sequence[Family], cpu: CPU, cap: str | None = None) -> tuple[MatmulChoice, ...] | None:
    """One choice for each family, all of which read the same packed LHS; None where no rung packs it alike for all.

    Integer families of one rung do; where one of them lacks the best rung, the others go down to its own.
    """
    best = tuple(choose_matmul(family, cpu, cap) for family in families)
    if _one_lhs(best):
        return best
    for rung in rungs_for(cpu, cap):
        lower = tuple(choose_matmul(family, cpu, rung.name) for family in families)
        if _one_lhs(lower):
            names = ", ".join(dict.fromkeys(choice.family.source for choice in lower))
            return tuple(replace(choice, reason=f"{choice.rung.name}: one LHS for {names}") for choice in lower)
    return None


def _one_lhs(choices: Sequence[MatmulChoice]) -> bool:
    return len({(choice.gemm.lhs, choice.gemv.lhs) for choice in choices}) == 1


def _reason(rung: Rung, cap: str | None, skipped: list[str]) -> str:
    best = f"capped at {cap}" if cap else "best rung of this CPU"
    without = f", none written for {', '.join(skipped)}" if skipped else ""
    return f"{rung.name}: {best}{without}"
