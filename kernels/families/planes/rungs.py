"""How each rung but SME2 and AMX multiplies planes: verbs, layouts, sizes of tiles. The only list of them."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.planes.neon import PlaneDotprod, PlaneMmla, PlaneNeon, PlanePaired
from kernels.families.planes.verbs import PlanePortable, Verbs
from kernels.families.planes.x86 import PlaneAvx2, PlaneVnni
from kernels.ladder import AVX2, AVX512_VNNI, AVX_VNNI, NEON, NEON_DOTPROD, NEON_I8MM, SCALAR, Rung


@dataclass(frozen=True, slots=True)
class PlaneRung:
    """How a rung uses the tiles. `lhs`, `row`: what the block32 families pack on this rung.

    gemm: rows x panels; gemm16: of operands with byte scales per 16, which need more registers. gemv: verbs of its own.
    asks_ahead: GEMMs do; of GEMVs there is one that does, for the machine to choose. six_bits: scales of Q4_K and Q5_K
    are packed so, where a GEMV has instructions to spare: with 16 columns a vector.
    """

    rung: Rung
    verbs: Verbs
    engine: str
    tech: str
    lhs: Qsi8d32
    row: Qsi8d32
    nr: int
    gemm: tuple[int, int]
    gemv_panels: int
    asks_ahead: bool = False
    gemv: tuple[Verbs, str] | None = None
    gemm16: tuple[int, int] | None = None
    six_bits: bool = False


RUNGS = (
    PlaneRung(
        NEON_I8MM,
        PlaneMmla(),
        "neon",
        "i8mm",
        lhs=Qsi8d32(8, 8, repeat=2),
        row=Qsi8d32(1, 8),
        nr=4,
        gemm=(8, 1),
        gemv_panels=2,
        gemv=(PlanePaired(), "dotprod"),
    ),
    PlaneRung(
        NEON_DOTPROD,
        PlaneDotprod(),
        "neon",
        "dotprod",
        lhs=Qsi8d32(4, 4),
        row=Qsi8d32(1, 4),
        nr=4,
        gemm=(8, 1),
        gemv_panels=2,
    ),
    PlaneRung(
        NEON, PlaneNeon(), "neon", "mlal", lhs=Qsi8d32(4, 4), row=Qsi8d32(1, 4), nr=4, gemm=(4, 1), gemv_panels=2
    ),
    PlaneRung(
        AVX512_VNNI,
        PlaneVnni(16),
        "avx512",
        "vnni",
        lhs=Qsi8d32(1, 4),
        row=Qsi8d32(1, 4),
        nr=16,
        gemm=(6, 2),
        gemv_panels=1,
        asks_ahead=True,
        six_bits=True,
    ),
    PlaneRung(
        AVX_VNNI,
        PlaneVnni(8),
        "avx",
        "vnni",
        lhs=Qsi8d32(1, 4),
        row=Qsi8d32(1, 4),
        nr=8,
        gemm=(3, 2),
        gemm16=(2, 2),
        gemv_panels=1,
        asks_ahead=True,
    ),
    PlaneRung(
        AVX2,
        PlaneAvx2(),
        "avx2",
        "maddubs",
        lhs=Qsi8d32(1, 4, paired_bias=True),
        row=Qsi8d32(1, 4, paired_bias=True),
        nr=8,
        gemm=(3, 2),
        gemv_panels=1,
        asks_ahead=True,
    ),
    PlaneRung(
        SCALAR, PlanePortable(), "scalar", "", lhs=Qsi8d32(1, 4), row=Qsi8d32(1, 4), nr=8, gemm=(2, 1), gemv_panels=1
    ),
)
