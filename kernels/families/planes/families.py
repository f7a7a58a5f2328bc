"""The families of planes with an f16 scale per block of 32: the only list of them."""

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
from kernels.families.planes.sme2 import PlaneMopa, PlaneStreamingGemv
from kernels.families.planes.variants import Activations
from kernels.families.variant import Family
from kernels.naming import MatmulName
from kernels.quant.fields import BLOCK


def _as_it_is(layout: Qsi8d32) -> Qsi8d32:
    return layout


def _name(lhs: Qsi8d32, rhs: PlaneRhs, rows: int, panels: int, engine: str, tech: str) -> MatmulName:
    n_step = panels * rhs.nr
    return MatmulName(
        "f32", "qsi8d32", lhs.mr, lhs.kr, rhs.code.name, rhs.nr, rhs.kr, rows, n_step, BLOCK, engine, tech
    )


_ACTIVATIONS = Activations(
    layout=_as_it_is,
    name=_name,
    pack=pack_variant,
    gemm=emit_gemm,
    gemv=emit_gemv,
    tiles=tile_variant,
    mopa=PlaneMopa,
    streaming_gemv=PlaneStreamingGemv,
)


def _family(code: PlaneCode) -> Family:
    return Family(
        f"f32_qsi8d32p_{code.name}p",
        code.source.name,
        _ACTIVATIONS.variants(code),
        partial(matmul, code),
        code.source.dequantise,
        code.source.row_block,
    )


FAMILIES = tuple(_family(code) for code in BLOCK_CODES)
