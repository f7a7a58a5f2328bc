"""The row-wise families and their variants per rung: the only list of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kernels.families.amx.rows import row_tile_variant
from kernels.families.block32.lanes import Isa
from kernels.families.block32.neon import Neon, NeonDotprod
from kernels.families.block32.portable import Portable
from kernels.families.block32.x86 import Avx2, Avx512Vnni, AvxVnni
from kernels.families.rowwise.code import CODES, RowCode
from kernels.families.rowwise.lanes import RowTile
from kernels.families.rowwise.lhs import Qai8dx
from kernels.families.rowwise.mmla import mmla_variants
from kernels.families.rowwise.names import pack_variant, row_name
from kernels.families.rowwise.reference import matmul
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.rowwise.sme2 import streaming_variants
from kernels.families.rowwise.wide import FEW_ROWS, PANELS, ROWS, WideRowTile
from kernels.families.variant import Family, MatmulVariant
from kernels.ladder import AVX2, AVX512_VNNI, AVX_VNNI, NEON, NEON_DOTPROD, SCALAR, Rung
from kernels.quant.blocks import BLOCK


@dataclass(frozen=True, slots=True)
class _LaneRung:
    """How a rung uses the lane tile. `gemm`: rows x panels; the other fields as in RowTile and Qai8dx.

    joins: nibbles only. byte_gemm: the tile for 8-bit weights where it differs. is_wide: many rows take the tile of
    kernels.families.rowwise.wide; `gemm` is that of few. nibble_gemvs: panels of candidates beside gemv_panels, for
    4-bit weights.
    """

    rung: Rung
    isa: Isa
    engine: str
    tech: str
    mr: int
    gemm: tuple[int, int]
    byte_gemm: tuple[int, int] | None = None
    gemv_panels: int = 1
    nibble_gemvs: tuple[int, ...] = ()
    prefetch: int = 0
    joins: bool = False
    paired_bias: bool = False
    padded_row: bool = False
    signed_nibbles: bool = False
    unsigned_bytes: bool = False
    is_wide: bool = False


_LANE_RUNGS = (
    _LaneRung(
        NEON_DOTPROD,
        NeonDotprod(),
        "neon",
        "dotprod",
        mr=4,
        gemm=(8, 1),
        gemv_panels=2,
        padded_row=True,
        signed_nibbles=True,
    ),
    _LaneRung(NEON, Neon(), "neon", "mlal", mr=4, gemm=(4, 1), gemv_panels=2, joins=True, padded_row=True),
    _LaneRung(
        AVX512_VNNI,
        Avx512Vnni(),
        "avx512",
        "vnni",
        mr=4,
        gemm=(8, 1),
        nibble_gemvs=(4,),
        prefetch=2048,
        unsigned_bytes=True,
        is_wide=True,
    ),
    _LaneRung(AVX_VNNI, AvxVnni(), "avx", "vnni", mr=1, gemm=(5, 1), prefetch=2048, unsigned_bytes=True),
    _LaneRung(
        AVX2,
        Avx2(),
        "avx2",
        "maddubs",
        mr=1,
        gemm=(4, 1),
        byte_gemm=(2, 2),
        prefetch=2048,
        joins=True,
        paired_bias=True,
    ),
    _LaneRung(SCALAR, Portable(), "scalar", "", mr=1, gemm=(2, 1)),
)


def _lane_variants(code: RowCode, use: _LaneRung) -> tuple[MatmulVariant, ...]:
    flipped = use.signed_nibbles if code.is_nibble else use.unsigned_bytes
    rhs = RowRhs(code, use.isa.lanes, 4, flipped)
    rows, panels = use.gemm if code.is_nibble else use.byte_gemm or use.gemm
    made = [row_tile_variant(rhs)] if use.rung == AVX512_VNNI else []
    row = Qai8dx(1, 4, True, use.paired_bias, use.padded_row)
    gemvs = (use.gemv_panels, *(use.nibble_gemvs if code.is_nibble else ()))
    for lhs, tile_rows, tile_panels, prefetch in (
        (Qai8dx(use.mr, 4, True, use.paired_bias), rows, panels, use.prefetch if use.is_wide else 0),
        *((row, 1, at_once, use.prefetch) for at_once in gemvs),
    ):
        is_wide = use.is_wide and tile_rows > 1
        step = (ROWS, PANELS) if is_wide else (tile_rows, tile_panels)
        name = row_name(lhs, rhs, step[0], step[1] * rhs.nr, use.engine, use.tech)
        tile = RowTile(
            name,
            lhs,
            rhs,
            tile_rows,
            tile_panels,
            use.isa,
            use.rung.attributes,
            joins=use.joins and code.is_nibble,
            float_bits=use.signed_nibbles and code.is_nibble and code.group is not None,
            prefetch_bytes=prefetch,
        )
        emit = WideRowTile(tile).emit if is_wide else tile.emit
        few_rows = FEW_ROWS if is_wide else 0
        made.append(MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, use.rung), emit, few_rows=few_rows))
    return tuple(made)


def _family(code: RowCode) -> Family:
    lanes = (variant for use in _LANE_RUNGS for variant in _lane_variants(code, use))
    variants = [*streaming_variants(code), *mmla_variants(code), *lanes]
    name = f"f32_qai8dxp_{code.name}p"
    source = code.source
    return Family(name, source.name, tuple(variants), partial(matmul, code), source.dequantise, code.group or BLOCK)


FAMILIES = tuple(_family(code) for code in CODES)
