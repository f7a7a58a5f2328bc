"""The families of super-blocks, and their variants per rung: the only list of them."""

from __future__ import annotations

from functools import partial

from kernels.families.amx.variants import super_tile_variant
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.planes.code import SUB16, SUPER_CODES, PlaneCode
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.rungs import RUNGS, PlaneRung
from kernels.families.planes.sme2 import AT_ONCE, PANELS
from kernels.families.planes.tile import PlaneTile
from kernels.families.supers.gemm import emit_gemm
from kernels.families.supers.gemv import emit_gemv
from kernels.families.supers.lhs import Qsi8d256
from kernels.families.supers.names import super_name, super_pack_variant
from kernels.families.supers.reference import matmul
from kernels.families.supers.sme2 import SuperMopa, SuperStreamingGemv
from kernels.families.variant import Family, MatmulVariant
from kernels.ladder import AVX512_VNNI, NEON, SME2
from kernels.quant.super_blocks import SUPER_BLOCK

FASTER_WITHOUT_TILES = ("Q6_K",)
"""Than with AMX's, in some shapes: measured when halves were scaled as floats per 32."""


def _variants(code: PlaneCode, use: PlaneRung) -> tuple[MatmulVariant, ...]:
    lhs, row, rhs = _rows(use.lhs), _rows(use.row), PlaneRhs(code, use.nr, use.lhs.kr)
    has_factors16 = use.verbs.gemm_code(code).sub == SUB16
    rows, panels = use.gemm16 if use.gemm16 and has_factors16 else use.gemm
    name = super_name(lhs, rhs, rows, panels, use.engine, use.tech)
    gemm = PlaneTile(name, lhs, rhs, rows, panels, use.verbs, use.rung.attributes, use.prefetch)
    verbs, tech = use.gemv or (use.verbs, use.tech)
    name = super_name(row, rhs, 1, use.gemv_panels, use.engine, tech)
    gemv = PlaneTile(name, row, rhs, 1, use.gemv_panels, verbs, use.rung.attributes)
    tiles = [super_tile_variant(rhs)] if use.rung == AVX512_VNNI else []
    return (
        *tiles,
        MatmulVariant(gemm.name, use.rung, lhs, rhs, super_pack_variant(lhs, use.rung), partial(emit_gemm, gemm)),
        MatmulVariant(gemv.name, use.rung, row, rhs, super_pack_variant(row, use.rung), partial(emit_gemv, gemv)),
    )


def _streaming_variants(code: PlaneCode) -> list[MatmulVariant]:
    """SME2's, for each streaming vector length; rows are packed outside streaming mode, by NEON code."""
    made = []
    for rung in SME2:
        assert rung.streaming_bits
        lanes = rung.streaming_bits // 32
        lhs, row, rhs = Qsi8d256(lanes, 4), Qsi8d256(1, 4), PlaneRhs(code, lanes, 4)
        name = super_name(lhs, rhs, lanes, PANELS, "sme2", "mopa")
        gemm = SuperMopa(name, lhs, rhs, PANELS, rung.attributes)
        made.append(MatmulVariant(name, rung, lhs, rhs, super_pack_variant(lhs, NEON), gemm.emit))
        name = super_name(row, rhs, 1, AT_ONCE, "sme2", "sdot")
        gemv = SuperStreamingGemv(name, row, rhs, AT_ONCE, rung.attributes)
        made.append(MatmulVariant(name, rung, row, rhs, super_pack_variant(row, NEON), gemv.emit))
    return made


def _rows(lhs: Qsi8d32) -> Qsi8d256:
    """The layout of a rung's blocks with scales of super-blocks."""
    return Qsi8d256(lhs.mr, lhs.kr, repeat=lhs.repeat)


def _family(code: PlaneCode) -> Family:
    variants = (*_streaming_variants(code), *(variant for use in RUNGS for variant in _variants(code, use)))
    return Family(
        f"f32_qsi8d256p_{code.name}p",
        code.source.name,
        variants,
        partial(matmul, code),
        code.source.dequantise,
        SUPER_BLOCK,
        lower_gemm=code.source.name in FASTER_WITHOUT_TILES,
    )


FAMILIES = tuple(_family(code) for code in SUPER_CODES)
"""One of each K-quant."""
