"""The plane families and their variants per rung: the only list of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kernels.families.amx.variants import tile_variant
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.names import pack_variant
from kernels.families.planes.code import CODES, SUB16, PlaneCode
from kernels.families.planes.gemm import emit_gemm
from kernels.families.planes.gemv import emit_gemv
from kernels.families.planes.neon import PlaneDotprod, PlaneMmla, PlaneNeon, PlanePaired
from kernels.families.planes.reference import matmul
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.sme2 import AT_ONCE, PlaneMopa, PlaneStreamingGemv
from kernels.families.planes.tile import PlaneTile
from kernels.families.planes.verbs import PlanePortable, Verbs
from kernels.families.planes.x86 import PlaneAvx2, PlaneVnni
from kernels.families.variant import Family, MatmulVariant
from kernels.ladder import AVX2, AVX512_VNNI, AVX_VNNI, NEON, NEON_DOTPROD, NEON_I8MM, SCALAR, SME2, Rung
from kernels.naming import MatmulName
from kernels.quant.fields import BLOCK

FASTER_WITHOUT_TILES = ("Q6_K",)
"""Than with AMX's, in some shapes: halves in sums of their own, whose float steps take longer than the tiles."""


@dataclass(frozen=True, slots=True)
class _PlaneRung:
    """How a rung uses the tiles. `lhs`, `row`: what the block32 families pack on this rung.

    gemm: rows x panels; gemm16: of sums or minima per 16, where they need more registers. gemv: verbs of its own.
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
    prefetch: int = 0
    gemv: tuple[Verbs, str] | None = None
    gemm16: tuple[int, int] | None = None


_RUNGS = (
    _PlaneRung(
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
    _PlaneRung(
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
    _PlaneRung(
        NEON, PlaneNeon(), "neon", "mlal", lhs=Qsi8d32(4, 4), row=Qsi8d32(1, 4), nr=4, gemm=(4, 1), gemv_panels=2
    ),
    _PlaneRung(
        AVX512_VNNI,
        PlaneVnni(16),
        "avx512",
        "vnni",
        lhs=Qsi8d32(1, 4),
        row=Qsi8d32(1, 4),
        nr=16,
        gemm=(6, 2),
        gemm16=(4, 2),
        gemv_panels=1,
        prefetch=2048,
    ),
    _PlaneRung(
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
        prefetch=2048,
    ),
    _PlaneRung(
        AVX2,
        PlaneAvx2(),
        "avx2",
        "maddubs",
        lhs=Qsi8d32(1, 4, paired_bias=True),
        row=Qsi8d32(1, 4, paired_bias=True),
        nr=8,
        gemm=(3, 2),
        gemv_panels=1,
        prefetch=2048,
    ),
    _PlaneRung(
        SCALAR, PlanePortable(), "scalar", "", lhs=Qsi8d32(1, 4), row=Qsi8d32(1, 4), nr=8, gemm=(2, 1), gemv_panels=1
    ),
)


def _variants(code: PlaneCode, use: _PlaneRung) -> tuple[MatmulVariant, ...]:
    rhs = PlaneRhs(code, use.nr, use.lhs.kr)
    has_sums16 = code.has_mins16 or use.verbs.gemm_code(code).sub == SUB16
    rows, panels = use.gemm16 if use.gemm16 and has_sums16 else use.gemm
    gemm = PlaneTile(
        _name(use.lhs, rhs, rows, panels, use.engine, use.tech),
        use.lhs,
        rhs,
        rows,
        panels,
        use.verbs,
        use.rung.attributes,
        use.prefetch,
        as_written=use.engine == "neon" and code.has_mins16,
    )
    verbs, tech = use.gemv or (use.verbs, use.tech)
    panels = use.gemv_panels
    gemv = PlaneTile(
        _name(use.row, rhs, 1, panels, use.engine, tech),
        use.row,
        rhs,
        1,
        panels,
        verbs,
        use.rung.attributes,
        use.prefetch,
    )
    tiles = [tile_variant(rhs)] if use.rung == AVX512_VNNI else []
    return (
        *tiles,
        MatmulVariant(gemm.name, use.rung, use.lhs, rhs, pack_variant(use.lhs, use.rung), partial(emit_gemm, gemm)),
        MatmulVariant(gemv.name, use.rung, use.row, rhs, pack_variant(use.row, use.rung), partial(emit_gemv, gemv)),
    )


def _streaming_variants(code: PlaneCode) -> list[MatmulVariant]:
    """SME2's, for each streaming vector length; rows are packed outside streaming mode, by NEON code."""
    made = []
    for rung in SME2:
        assert rung.streaming_bits
        lanes = rung.streaming_bits // 32
        lhs, row, rhs = Qsi8d32(lanes, 4), Qsi8d32(1, 4), PlaneRhs(code, lanes, 4)
        panels = PlaneMopa.num_panels(code)
        name = _name(lhs, rhs, lanes, panels, "sme2", "mopa")
        gemm = PlaneMopa(name, lhs, rhs, panels, rung.attributes)
        made.append(MatmulVariant(name, rung, lhs, rhs, pack_variant(lhs, NEON), gemm.emit))
        name = _name(row, rhs, 1, AT_ONCE, "sme2", "sdot")
        gemv = PlaneStreamingGemv(name, row, rhs, AT_ONCE, rung.attributes)
        made.append(MatmulVariant(name, rung, row, rhs, pack_variant(row, NEON), gemv.emit))
    return made


def _name(lhs: Qsi8d32, rhs: PlaneRhs, rows: int, panels: int, engine: str, tech: str) -> MatmulName:
    n_step = panels * rhs.nr
    return MatmulName(
        "f32", "qsi8d32", lhs.mr, lhs.kr, rhs.code.name, rhs.nr, rhs.kr, rows, n_step, BLOCK, engine, tech
    )


def _family(code: PlaneCode) -> Family:
    variants = (*_streaming_variants(code), *(variant for use in _RUNGS for variant in _variants(code, use)))
    name = f"f32_qsi8d32p_{code.name}p"
    return Family(
        name,
        code.source.name,
        variants,
        partial(matmul, code),
        code.source.dequantise,
        code.source.row_block,
        lower_gemm=code.source.name in FASTER_WITHOUT_TILES,
    )


FAMILIES = tuple(_family(code) for code in CODES)
