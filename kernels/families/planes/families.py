"""The families of planes with an f16 scale per block of 32, and their variants per rung: the only list of them."""

from __future__ import annotations

from functools import partial

from kernels.families.amx.variants import tile_variant
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.names import pack_variant
from kernels.families.planes.code import BLOCK_CODES, PlaneCode
from kernels.families.planes.gemm import emit_gemm
from kernels.families.planes.gemv import emit_gemv
from kernels.families.planes.reference import matmul
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.rungs import RUNGS, PlaneRung
from kernels.families.planes.sme2 import AT_ONCE, PANELS, PlaneMopa, PlaneStreamingGemv
from kernels.families.planes.tile import PlaneTile
from kernels.families.variant import Family, MatmulVariant
from kernels.ladder import AVX512_VNNI, NEON, SME2
from kernels.naming import MatmulName
from kernels.quant.fields import BLOCK


def _variants(code: PlaneCode, use: PlaneRung) -> tuple[MatmulVariant, ...]:
    rhs = PlaneRhs(code, use.nr, use.lhs.kr)
    rows, panels = use.gemm
    gemm = PlaneTile(
        _name(use.lhs, rhs, rows, panels, use.engine, use.tech),
        use.lhs,
        rhs,
        rows,
        panels,
        use.verbs,
        use.rung.attributes,
        use.prefetch,
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
        name = _name(lhs, rhs, lanes, PANELS, "sme2", "mopa")
        gemm = PlaneMopa(name, lhs, rhs, PANELS, rung.attributes)
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
    variants = (*_streaming_variants(code), *(variant for use in RUNGS for variant in _variants(code, use)))
    name = f"f32_qsi8d32p_{code.name}p"
    return Family(
        name,
        code.source.name,
        variants,
        partial(matmul, code),
        code.source.dequantise,
        code.source.row_block,
    )


FAMILIES = tuple(_family(code) for code in BLOCK_CODES)
