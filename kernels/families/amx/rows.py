"""The row-wise GEMMs of the `amx_int8` rung. Their GEMVs are those of AVX512-VNNI, which read the same packed RHS."""

from __future__ import annotations

from kernels.families.amx.channels import ChannelGemm
from kernels.families.amx.groups import COLUMNS, PANELS, GroupGemm
from kernels.families.block32.x86 import Avx512Vnni
from kernels.families.rowwise.lanes import RowTile
from kernels.families.rowwise.names import pack_variant, row_name
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.rowwise.tile_lhs import TileQai8dx
from kernels.families.variant import MatmulVariant
from kernels.jit.tiles import TILE_ROWS
from kernels.ladder import AMX_INT8, AVX512_VNNI

FEW_ROWS = 8
"""Up to here vectors are faster: tiles are mostly empty, and weights are unpacked for one turn of them."""
PREFETCH_BYTES = 2048


def row_tile_variant(rhs: RowRhs) -> MatmulVariant:
    assert rhs.nr == COLUMNS, f"panels of {rhs.nr} columns, tiles have {COLUMNS}"
    lhs = TileQai8dx()
    name = row_name(lhs, rhs, TILE_ROWS, PANELS * COLUMNS, "amx", "int8")
    few = RowTile(name, lhs, rhs, FEW_ROWS, 1, Avx512Vnni(), AMX_INT8.attributes, prefetch_bytes=PREFETCH_BYTES)
    gemm = GroupGemm(few, FEW_ROWS) if rhs.code.group else ChannelGemm(few, FEW_ROWS)
    return MatmulVariant(name, AMX_INT8, lhs, rhs, pack_variant(lhs, AVX512_VNNI), gemm.emit)
