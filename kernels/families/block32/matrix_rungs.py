"""The block32 variants whose instructions multiply matrices: SME2's outer products, NEON's and SVE's smmla."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.block32.mmla import MmlaTile, PairedGemv
from kernels.families.block32.mmla_isa import MmlaIsa, NeonMmla, SveMmla
from kernels.families.block32.names import block32_name, pack_variant
from kernels.families.block32.rhs import Rhs32, WeightCode
from kernels.families.block32.sme2 import GEMV_PANELS, MopaTile, StreamingGemv
from kernels.families.block32.sme2_layout import VECTORS, StreamingRhs
from kernels.families.variant import MatmulVariant
from kernels.ladder import NEON, NEON_I8MM, SME2, SVE_I8MM, Rung

ROWS = 8  # of a packed panel


@dataclass(frozen=True, slots=True)
class _MmlaRung:
    """How a rung uses the tile of 2x2 products. Two pairs' operands are neighbours in memory: one ldp, with NEON.

    gemms: rows and the pairs of them in flight, the static choice, then candidates; gemvs: panels, likewise.
    min_gemms: of weights with minima, two vectors of which take the registers of 16 rows.
    """

    rung: Rung
    isa: MmlaIsa
    engine: str
    gemv_tech: str
    gemms: tuple[tuple[int, int], ...]
    min_gemms: tuple[tuple[int, int], ...]
    gemvs: tuple[int, ...]


_MMLA_RUNGS = (
    _MmlaRung(SVE_I8MM, SveMmla(vector_bytes=32), "sve", "dot", gemms=((16, 1),), min_gemms=((ROWS, 1),), gemvs=(4,)),
    _MmlaRung(NEON_I8MM, NeonMmla(), "neon", "dotprod", gemms=((8, 2), (16, 1)), min_gemms=((ROWS, 2),), gemvs=(2, 4)),
)


def mmla_variants(code: WeightCode) -> list[MatmulVariant]:
    """GEMM and GEMV of each rung. Rows are packed alike on all of them, by NEON code."""
    made = []
    for use in _MMLA_RUNGS:
        rhs = Rhs32(code, nr=use.isa.vector_bytes // 4, kr=8, flip_sign=code.is_signed_nibble)
        lhs, row = Qsi8d32(ROWS, 8, repeat=2), Qsi8d32(1, 8)
        for rows, pairs_at_once in use.min_gemms if code.has_min else use.gemms:
            name = block32_name(lhs, rhs, rows, rhs.nr, use.engine, "i8mm")
            gemm = MmlaTile(name, lhs, rhs, rows, pairs_at_once, use.isa, use.rung.attributes)
            made.append(MatmulVariant(name, use.rung, lhs, rhs, pack_variant(lhs, NEON_I8MM), gemm.emit))
        for panels in use.gemvs:
            name = block32_name(row, rhs, 1, panels * rhs.nr, use.engine, use.gemv_tech)
            gemv = PairedGemv(name, row, rhs, panels, use.isa, use.rung.attributes)
            made.append(MatmulVariant(name, use.rung, row, rhs, pack_variant(row, NEON_I8MM), gemv.emit))
    return made


def streaming_variants(code: WeightCode) -> list[MatmulVariant]:
    """GEMM and GEMV of SME2 for each streaming vector length. Rows are packed outside streaming mode, by NEON code."""
    made = []
    for rung in SME2:
        assert rung.streaming_bits
        lanes = rung.streaming_bits // 32
        lhs, row, rhs = Qsi8d32(lanes, 4), Qsi8d32(1, 4), StreamingRhs(code, VECTORS * lanes)
        name = block32_name(lhs, rhs, lanes, rhs.nr, "sme2", "mopa")
        gemm = MopaTile(name, lhs, rhs, rung.attributes)
        made.append(MatmulVariant(name, rung, lhs, rhs, pack_variant(lhs, NEON), gemm.emit))
        name = block32_name(row, rhs, 1, GEMV_PANELS * rhs.nr, "sme2", "sdot")
        gemv = StreamingGemv(name, row, rhs, rung.attributes)
        made.append(MatmulVariant(name, rung, row, rhs, pack_variant(row, NEON), gemv.emit))
    return made
