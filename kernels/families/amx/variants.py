"""The GEMMs of the `amx_int8` rung. Its GEMVs are those of AVX512-VNNI, which read the same packed RHS."""

from __future__ import annotations

from functools import partial
from typing import cast

from kernels.families.amx.block32 import Block32Records
from kernels.families.amx.gemm import AmxGemm
from kernels.families.amx.pipeline import COLUMNS, Records
from kernels.families.amx.planes import PlaneRecords
from kernels.families.amx.super_gemm import AmxSuperGemm
from kernels.families.amx.supers import SuperRecords
from kernels.families.block32.lanes import LaneEmission, LaneTile
from kernels.families.block32.lhs import TILE_LAYOUT, Qsi8d32
from kernels.families.block32.names import pack_variant
from kernels.families.block32.rhs import Rhs32
from kernels.families.block32.x86 import Avx512Vnni
from kernels.families.planes.gemm import emit_columns
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.tile import PlaneTile
from kernels.families.planes.x86 import PlaneVnni
from kernels.families.prefetch import FROM_MEMORY
from kernels.families.supers.gemm import emit_columns as emit_super_columns
from kernels.families.supers.lhs import TILE_LAYOUT as SUPER_LAYOUT
from kernels.families.supers.lhs import Qsi8d256
from kernels.families.supers.names import super_pack_variant
from kernels.families.variant import MatmulVariant, PackVariant
from kernels.jit.ir import I64, Function
from kernels.jit.tiles import TILE_ROWS
from kernels.ladder import AMX_INT8, AVX512_VNNI
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK

VECTOR_ROWS = 8
"""At a time, in vector registers."""
FEW_ROWS, FEW_PLANE_ROWS = 12, VECTOR_ROWS
"""Up to here vectors are faster: tiles are mostly empty, and weights are unpacked for one turn of them."""
PREFETCH_BYTES = 4096
"""Ahead, of weights that few rows are multiplied by: they come from memory as a GEMV's do."""


def records_of(rhs: object) -> Records:
    if isinstance(rhs, PlaneRhs):
        return SuperRecords(rhs) if rhs.code.is_super else PlaneRecords(rhs)
    return Block32Records(cast(Rhs32, rhs))


def _few_rows(name: MatmulName, rhs: Rhs32 | PlaneRhs, f: Function) -> None:
    """AVX512-VNNI's tile, on the LHS of this rung."""
    features = AMX_INT8.attributes
    if isinstance(rhs, PlaneRhs):
        lhs, emit = (SUPER_LAYOUT, emit_super_columns) if rhs.code.is_super else (TILE_LAYOUT, emit_columns)
        emit(PlaneTile(name, lhs, rhs, FEW_PLANE_ROWS, 1, PlaneVnni(COLUMNS), features, asks_ahead=True), f)
    else:
        tile = LaneTile(name, TILE_LAYOUT, rhs, VECTOR_ROWS, 1, Avx512Vnni(), features, FROM_MEMORY)
        LaneEmission(tile, f).columns_from(f.const(I64, 0))


def tile_variant(rhs: Rhs32 | PlaneRhs) -> MatmulVariant:
    """Of blocks."""
    few_rows = FEW_PLANE_ROWS if isinstance(rhs, PlaneRhs) else FEW_ROWS
    pack = pack_variant(TILE_LAYOUT, AVX512_VNNI)
    return _variant(AmxGemm, "qsi8d32", TILE_LAYOUT, pack, rhs, few_rows)


def super_tile_variant(rhs: PlaneRhs) -> MatmulVariant:
    pack = super_pack_variant(SUPER_LAYOUT, AVX512_VNNI)
    return _variant(AmxSuperGemm, "qsi8d256", SUPER_LAYOUT, pack, rhs, FEW_PLANE_ROWS)


def _variant(
    kind: type[AmxGemm],
    lhs_name: str,
    lhs: Qsi8d32 | Qsi8d256,
    pack: PackVariant,
    rhs: Rhs32 | PlaneRhs,
    few_rows: int,
) -> MatmulVariant:
    assert rhs.nr == COLUMNS, f"panels of {rhs.nr} columns, tiles have {COLUMNS}"
    code = rhs.code.name
    name = MatmulName("f32", lhs_name, lhs.mr, lhs.kr, code, rhs.nr, rhs.kr, TILE_ROWS, COLUMNS, BLOCK, "amx", "int8")
    few = partial(_few_rows, name, rhs)
    gemm = kind(name, records_of(rhs), few, few_rows, AMX_INT8.attributes, PREFETCH_BYTES)
    return MatmulVariant(name, AMX_INT8, lhs, rhs, pack, gemm.emit, few_rows=few_rows)
