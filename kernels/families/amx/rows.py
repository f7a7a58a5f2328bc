"""The row-wise GEMMs of the `amx_int8` rung. Their GEMVs are those of AVX512-VNNI, which read the same packed RHS."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.channels import PANELS, ROWS_AT_ONCE, ChannelEmission
from kernels.families.amx.groups import GroupEmission
from kernels.families.amx.pipeline import COLUMNS
from kernels.families.block32.x86 import Avx512Vnni
from kernels.families.prefetch import FROM_MEMORY
from kernels.families.rowwise.lanes import RowEmission, RowTile
from kernels.families.rowwise.names import pack_variant, row_name
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.rowwise.tile_lhs import TileQai8dx
from kernels.families.variant import MatmulVariant
from kernels.jit.ir import I64
from kernels.jit.ir_types import AS_WRITTEN
from kernels.jit.tiles import TILE_ROWS
from kernels.ladder import AMX_INT8, AVX512_VNNI

FEW_ROWS = 8
"""Up to here vectors are faster: tiles are mostly empty, and weights are unpacked for one turn of them."""


@dataclass(frozen=True, slots=True)
class RowTileGemm:
    """A matmul micro-kernel of 16 rows x 2 panels. `few`: the lane tile of the same layouts, for m <= few_rows."""

    few: RowTile
    few_rows: int

    def emit(self) -> str:
        # As written: LLVM's scheduler would convert all rows of a group before it adds one, and spill half of them.
        lanes = RowEmission.begin(self.few, AS_WRITTEN)
        f = lanes.f
        with f.when(f.compare("sle", f["m"], self.few_rows)):
            lanes.columns_from(f.const(I64, 0))
        with f.when(f.compare("sgt", f["m"], self.few_rows)):
            (GroupEmission(lanes) if self.few.rhs.code.group else ChannelEmission(lanes)).emit()
        f.ret()
        return f.text()


def row_tile_variant(rhs: RowRhs) -> MatmulVariant:
    assert rhs.nr == COLUMNS, f"panels of {rhs.nr} columns, tiles have {COLUMNS}"
    lhs = TileQai8dx()
    name = row_name(lhs, rhs, TILE_ROWS, PANELS * COLUMNS, "amx", "int8")
    few = RowTile(name, lhs, rhs, FEW_ROWS, 1, Avx512Vnni(), AMX_INT8.attributes, prefetch=FROM_MEMORY)
    gemm = RowTileGemm(few, FEW_ROWS)
    least_rows = 0 if rhs.code.group else ROWS_AT_ONCE
    return MatmulVariant(name, AMX_INT8, lhs, rhs, pack_variant(lhs, AVX512_VNNI), gemm.emit, least_rows, FEW_ROWS)
