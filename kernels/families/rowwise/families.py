"""The row-wise families and their variants per rung: the only list of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kernels.families.amx.rows import row_tile_variant
from kernels.families.block32.lanes import Isa
from kernels.families.block32.neon import Neon, NeonDotprod
from kernels.families.block32.portable import Portable
from kernels.families.block32.x86 import Avx2, Avx512Vnni, AvxVnni
from kernels.families.prefetch import FROM_MEMORY, Prefetch, technique
from kernels.families.rowwise.code import CODES, RowCode
from kernels.families.rowwise.lanes import RowTile
from kernels.families.rowwise.lhs import Qai8dx
from kernels.families.rowwise.mmla import mmla_variants
from kernels.families.rowwise.names import pack_variant, row_name
from kernels.families.rowwise.reference import matmul
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.rowwise.sme2 import streaming_variants
from kernels.families.rowwise.wide import FEW_ROWS, PANELS, WideRowTile, wide_rows
from kernels.families.variant import Family, MatmulVariant
from kernels.ladder import AVX2, AVX512_VNNI, AVX_VNNI, NEON, NEON_DOTPROD, SCALAR, Rung
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK


@dataclass(frozen=True, slots=True)
class _LaneRung:
    """How a rung uses the lane tile. `gemm`: rows x panels; the other fields as in RowTile and Qai8dx.

    joins: nibbles only. byte_gemm: the tile for 8-bit weights where it differs. is_wide: many rows take the tile of
    kernels.families.rowwise.wide; `gemm` is that of few, few_prefetch what they ask for.
    gemvs: panels at a time and what they ask for, the static choice, then candidates; nibble_gemvs: more of 4 bits.
    """

    rung: Rung
    isa: Isa
    engine: str
    tech: str
    mr: int
    gemm: tuple[int, int]
    byte_gemm: tuple[int, int] | None = None
    gemvs: tuple[tuple[int, Prefetch | None], ...] = ((1, None),)
    nibble_gemvs: tuple[tuple[int, Prefetch | None], ...] = ()
    few_prefetch: Prefetch | None = None
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
        gemvs=((2, None),),
        padded_row=True,
        signed_nibbles=True,
    ),
    _LaneRung(NEON, Neon(), "neon", "mlal", mr=4, gemm=(4, 1), gemvs=((2, None),), joins=True, padded_row=True),
    _LaneRung(
        AVX512_VNNI,
        Avx512Vnni(),
        "avx512",
        "vnni",
        mr=4,
        gemm=(8, 1),
        gemvs=((1, None), (1, FROM_MEMORY)),
        nibble_gemvs=((4, None),),
        few_prefetch=FROM_MEMORY,
        unsigned_bytes=True,
        is_wide=True,
    ),
    _LaneRung(
        AVX_VNNI,
        AvxVnni(),
        "avx",
        "vnni",
        mr=1,
        gemm=(5, 1),
        gemvs=((1, None), (1, FROM_MEMORY)),
        unsigned_bytes=True,
    ),
    _LaneRung(
        AVX2,
        Avx2(),
        "avx2",
        "maddubs",
        mr=1,
        gemm=(4, 1),
        byte_gemm=(2, 2),
        gemvs=((1, None), (1, FROM_MEMORY)),
        joins=True,
        paired_bias=True,
    ),
    _LaneRung(SCALAR, Portable(), "scalar", "", mr=1, gemm=(2, 1)),
)


def _lane_variants(code: RowCode, use: _LaneRung) -> tuple[MatmulVariant, ...]:
    flipped = use.signed_nibbles if code.is_nibble else use.unsigned_bytes
    rhs = RowRhs(code, use.isa.lanes, 4, flipped)
    tiles = [row_tile_variant(rhs)] if use.rung == AVX512_VNNI else []
    gemvs = (*use.gemvs, *(use.nibble_gemvs if code.is_nibble else ()))
    return (*tiles, _gemm_variant(use, rhs), *(_gemv_variant(use, rhs, *how) for how in gemvs))


def _gemm_variant(use: _LaneRung, rhs: RowRhs) -> MatmulVariant:
    code = rhs.code
    rows, panels = use.gemm if code.is_nibble else use.byte_gemm or use.gemm
    m_step, n_panels, mr, few_rows = rows, panels, use.mr, 0
    if use.is_wide:
        m_step, n_panels, few_rows = wide_rows(code), PANELS, FEW_ROWS
        mr = 1 if m_step % mr else mr  # a tile begins where a panel of the LHS does
    lhs = Qai8dx(mr, 4, True, use.paired_bias)
    name = row_name(lhs, rhs, m_step, n_panels * rhs.nr, use.engine, use.tech)
    tile = _tile(use, name, lhs, rhs, (rows, panels), use.few_prefetch)
    emit = WideRowTile(tile, m_step).emit if use.is_wide else tile.emit
    return MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, use.rung), emit, few_rows=few_rows)


def _gemv_variant(use: _LaneRung, rhs: RowRhs, panels: int, prefetch: Prefetch | None) -> MatmulVariant:
    lhs = Qai8dx(1, 4, True, use.paired_bias, use.padded_row)
    name = row_name(lhs, rhs, 1, panels * rhs.nr, use.engine, technique(use.tech, prefetch))
    tile = _tile(use, name, lhs, rhs, (1, panels), prefetch)
    return MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, use.rung), tile.emit)


def _tile(
    use: _LaneRung, name: MatmulName, lhs: Qai8dx, rhs: RowRhs, size: tuple[int, int], prefetch: Prefetch | None
) -> RowTile:
    """size: rows x panels"""
    code = rhs.code
    return RowTile(
        name,
        lhs,
        rhs,
        *size,
        use.isa,
        use.rung.attributes,
        joins=use.joins and code.is_nibble,
        float_bits=use.signed_nibbles and code.is_nibble and code.group is not None,
        prefetch=prefetch,
    )


def _family(code: RowCode) -> Family:
    lanes = (variant for use in _LANE_RUNGS for variant in _lane_variants(code, use))
    variants = [*streaming_variants(code), *mmla_variants(code), *lanes]
    name = f"f32_qai8dxp_{code.name}p"
    source = code.source
    return Family(name, source.name, tuple(variants), partial(matmul, code), source.dequantise, code.group or BLOCK)


FAMILIES = tuple(_family(code) for code in CODES)
