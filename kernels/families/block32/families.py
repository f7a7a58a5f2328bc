"""The three block32 families and their variants per rung: the only list of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kernels.families.amx.variants import tile_variant
from kernels.families.block32.lanes import Isa, LaneTile
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.matrix_rungs import mmla_variants, streaming_variants
from kernels.families.block32.names import block32_name, pack_variant
from kernels.families.block32.neon import Neon, NeonDotprod
from kernels.families.block32.portable import Portable
from kernels.families.block32.reference import matmul
from kernels.families.block32.rhs import QAI4, QSI4, QSI8, Rhs32, WeightCode
from kernels.families.block32.unpacked import PANELS, UnpackedTile
from kernels.families.block32.x86 import Avx2, Avx512Vnni, AvxVnni
from kernels.families.prefetch import FROM_MEMORY, Prefetch, technique
from kernels.families.variant import Family, MatmulVariant
from kernels.ladder import AVX2, AVX512_VNNI, AVX_VNNI, NEON, NEON_DOTPROD, SCALAR, Rung


@dataclass(frozen=True, slots=True)
class _LaneRung:
    """How a rung uses the lane tile. `gemm`: rows x panels of a tile; `mr`: rows of a packed LHS panel.

    byte_gemm: the tile for 8-bit weights where they need more registers than nibbles do.
    unpacked_rows: more rows than `few_rows` take the tile of kernels.families.block32.unpacked, with so many at a time.
    On Zen 4 it is never the faster one (16 rows of Q4_0, Q4_1: 0.8 of the lane tile's speed, 48: 0.96, 256: 0.99); of
    Ice Lake llvm-mca says that it is from some 24 rows of Q4_0 on, and from 16 of Q4_1.
    few_prefetch: what tiles of few rows ask for.
    gemvs: panels at a time and what they ask for, the static choice, then candidates.
    """

    rung: Rung
    isa: Isa
    engine: str
    tech: str
    mr: int
    gemm: tuple[int, int]
    gemvs: tuple[tuple[int, Prefetch | None], ...]
    few_prefetch: Prefetch | None = None
    paired_bias: bool = False
    unsigned_bytes: bool = False
    signed_nibbles: bool = False
    float_bits: bool = False
    byte_gemm: tuple[int, int] | None = None
    unpacked_rows: int = 0
    few_rows: int = 12


_LANE_RUNGS = (
    _LaneRung(
        NEON_DOTPROD,
        NeonDotprod(),
        "neon",
        "dotprod",
        mr=4,
        gemm=(8, 1),
        gemvs=((2, None),),
        signed_nibbles=True,
        float_bits=True,
    ),
    _LaneRung(NEON, Neon(), "neon", "mlal", mr=4, gemm=(4, 1), gemvs=((2, None),)),
    _LaneRung(
        AVX512_VNNI,
        Avx512Vnni(),
        "avx512",
        "vnni",
        mr=1,
        gemm=(8, 1),
        gemvs=((1, None), (4, None), (1, FROM_MEMORY)),
        few_prefetch=FROM_MEMORY,
        unsigned_bytes=True,
        unpacked_rows=6,
        few_rows=32,
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
        gemm=(6, 1),
        gemvs=((1, None), (1, FROM_MEMORY)),
        few_prefetch=FROM_MEMORY,
        paired_bias=True,
        byte_gemm=(2, 2),
        unpacked_rows=3,
    ),
    _LaneRung(SCALAR, Portable(), "scalar", "", mr=1, gemm=(2, 1), gemvs=((1, None),)),
)


def _lane_variants(code: WeightCode, use: _LaneRung) -> tuple[MatmulVariant, ...]:
    gemm_lhs = Qsi8d32(use.mr, 4, paired_bias=use.paired_bias)
    gemv_lhs = Qsi8d32(1, 4, paired_bias=use.paired_bias)
    rhs = Rhs32(
        code,
        use.isa.lanes,
        4,
        flip_sign=(use.signed_nibbles and code.is_signed_nibble) or (use.unsigned_bytes and not code.is_nibble),
    )
    tiles = [tile_variant(rhs)] if use.rung == AVX512_VNNI else []
    return (
        *tiles,
        _gemm_variant(code, use, gemm_lhs, rhs),
        *(_gemv_variant(use, gemv_lhs, rhs, panels, prefetch) for panels, prefetch in use.gemvs),
    )


def _gemm_variant(code: WeightCode, use: _LaneRung, lhs: Qsi8d32, rhs: Rhs32) -> MatmulVariant:
    rows, panels = use.gemm if code.is_nibble else use.byte_gemm or use.gemm
    m_step, n_panels = (use.unpacked_rows, PANELS) if use.unpacked_rows else (rows, panels)
    name = block32_name(lhs, rhs, m_step, n_panels * rhs.nr, use.engine, use.tech)
    tile = LaneTile(name, lhs, rhs, rows, panels, use.isa, use.rung.attributes, use.few_prefetch, use.float_bits)
    emit = UnpackedTile(tile, use.unpacked_rows, use.few_rows).emit if use.unpacked_rows else tile.emit
    few_rows = use.few_rows if use.unpacked_rows else 0
    return MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, use.rung), emit, few_rows=few_rows)


def _gemv_variant(use: _LaneRung, lhs: Qsi8d32, rhs: Rhs32, panels: int, prefetch: Prefetch | None) -> MatmulVariant:
    name = block32_name(lhs, rhs, 1, panels * rhs.nr, use.engine, technique(use.tech, prefetch))
    tile = LaneTile(name, lhs, rhs, 1, panels, use.isa, use.rung.attributes, prefetch, use.float_bits)
    return MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, use.rung), tile.emit)


def _family(code: WeightCode) -> Family:
    variants = [*streaming_variants(code), *mmla_variants(code)]
    for use in _LANE_RUNGS:
        variants += _lane_variants(code, use)
    return Family(
        f"f32_qsi8d32p_{code.name}p",
        code.source.name,
        tuple(variants),
        partial(matmul, code),
        code.source.dequantise,
        lower_gemm=code.is_nibble,
    )


FAMILIES = tuple(_family(code) for code in (QSI4, QAI4, QSI8))
