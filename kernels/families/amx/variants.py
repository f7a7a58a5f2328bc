"""The GEMMs of the `amx_int8` rung. Its GEMVs are those of AVX512-VNNI, which read the same packed RHS."""

from __future__ import annotations

from functools import partial
from typing import cast

from kernels.families.amx.block32 import Block32Records
from kernels.families.amx.gemm import COLUMNS, FEW_ROWS, LHS, PANELS, AmxGemm, Records
from kernels.families.amx.planes import PlaneRecords
from kernels.families.block32.lanes import LaneEmission, LaneTile
from kernels.families.block32.names import pack_variant
from kernels.families.block32.rhs import Rhs32
from kernels.families.block32.x86 import Avx512Vnni
from kernels.families.planes.gemm import emit_columns
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.tile import PlaneTile
from kernels.families.planes.x86 import PlaneVnni
from kernels.families.variant import MatmulVariant
from kernels.jit.ir import I64, Function
from kernels.jit.tiles import TILE_ROWS
from kernels.ladder import AMX_INT8, AVX512_VNNI
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK


def records_of(rhs: object) -> Records:
    return PlaneRecords(rhs) if isinstance(rhs, PlaneRhs) else Block32Records(cast(Rhs32, rhs))


def _few_rows(name: MatmulName, rhs: Rhs32 | PlaneRhs, f: Function) -> None:
    """AVX512-VNNI's tile, on the LHS of this rung."""
    features = AMX_INT8.attributes
    if isinstance(rhs, PlaneRhs):
        emit_columns(PlaneTile(name, LHS, rhs, FEW_ROWS, 1, PlaneVnni(COLUMNS), features), f)
    else:
        LaneEmission(LaneTile(name, LHS, rhs, FEW_ROWS, 1, Avx512Vnni(), features), f).columns_from(f.const(I64, 0))


def tile_variant(rhs: Rhs32 | PlaneRhs) -> MatmulVariant:
    assert rhs.nr == COLUMNS, f"panels of {rhs.nr} columns, tiles have {COLUMNS}"
    step = PANELS * COLUMNS
    code = rhs.code.name
    name = MatmulName("f32", "qsi8d32", LHS.mr, LHS.kr, code, rhs.nr, rhs.kr, TILE_ROWS, step, BLOCK, "amx", "int8")
    gemm = AmxGemm(name, records_of(rhs), partial(_few_rows, name, rhs), AMX_INT8.attributes)
    return MatmulVariant(name, AMX_INT8, LHS, rhs, pack_variant(LHS, AVX512_VNNI), gemm.emit)
