"""The float families and their variants per rung: the only list of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from kernels.families.block32.neon import Neon
from kernels.families.block32.portable import Portable
from kernels.families.block32.x86 import Avx2, Avx512Vnni
from kernels.families.floats.layout import (
    BF16_CODE,
    F16_CODE,
    F32_CODE,
    K_STEP,
    FloatCode,
    FloatRhs,
    PlainLhs,
    emit_pack,
)
from kernels.families.floats.sme2 import GEMV_PANELS, VECTORS, FloatMopa, FloatStreamingGemv
from kernels.families.floats.tile import FloatTile, HalfLoader
from kernels.families.variant import Family, MatmulVariant, PackVariant
from kernels.ladder import AVX2, AVX512_VNNI, NEON, SCALAR, SME2, Rung
from kernels.naming import MatmulName


@dataclass(frozen=True, slots=True)
class _FloatRung:
    rung: Rung
    isa: HalfLoader
    engine: str
    tech: str
    vectors: int  # of a panel
    rows: int
    gemv_panels: int
    by_element: bool = False


_RUNGS = (
    _FloatRung(NEON, Neon(), "neon", "mla", vectors=4, rows=5, gemv_panels=2, by_element=True),
    _FloatRung(AVX512_VNNI, Avx512Vnni(), "avx512", "fma", vectors=2, rows=12, gemv_panels=4),
    _FloatRung(AVX2, Avx2(), "avx2", "fma", vectors=2, rows=6, gemv_panels=4),
    _FloatRung(SCALAR, Portable(), "scalar", "", vectors=2, rows=2, gemv_panels=1),
)


def _variants(code: FloatCode, use: _FloatRung) -> tuple[MatmulVariant, ...]:
    lhs, rhs = PlainLhs(), FloatRhs(code, use.vectors * use.isa.lanes)
    pack = PackVariant(f"{lhs.pack_name}_{use.rung.name}", use.rung, lhs, partial(emit_pack, lhs, use.rung))
    made = []
    for rows, panels in ((use.rows, 1), (1, use.gemv_panels)):
        name = MatmulName("f32", "f32", 1, 1, code.name, rhs.nr, 1, rows, panels * rhs.nr, K_STEP, use.engine, use.tech)
        tile = FloatTile(name, rhs, rows, panels, use.isa, use.by_element, use.rung.attributes)
        made.append(MatmulVariant(name, use.rung, lhs, rhs, pack, tile.emit))
    return tuple(made)


def _streaming_variants(code: FloatCode) -> list[MatmulVariant]:
    """SME2's, for each streaming vector length; rows are packed outside streaming mode, by NEON code."""
    made = []
    for rung in SME2:
        assert rung.streaming_bits
        rhs = FloatRhs(code, VECTORS * rung.streaming_bits // 32)
        for lhs, panels, tech in ((PlainLhs(rhs.nr // VECTORS), 1, "mopa"), (PlainLhs(), GEMV_PANELS, "mla")):
            columns = panels * rhs.nr
            name = MatmulName("f32", "f32", lhs.mr, 1, code.name, rhs.nr, 1, lhs.mr, columns, K_STEP, "sme2", tech)
            pack = PackVariant(f"{lhs.pack_name}_{NEON.name}", NEON, lhs, partial(emit_pack, lhs, NEON))
            kernel = FloatMopa if lhs.mr > 1 else FloatStreamingGemv
            made.append(MatmulVariant(name, rung, lhs, rhs, pack, kernel(name, lhs, rhs, rung.attributes).emit))
    return made


def _reference(code: FloatCode, x: npt.NDArray[np.float32], raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """x: f32[M, K], raw: u8[N, row bytes] -> f32[M, N], summed in f64."""
    return (x.astype(np.float64) @ code.to_f32(raw).astype(np.float64).T).astype(np.float32)


def _family(code: FloatCode) -> Family:
    variants = (*_streaming_variants(code), *(variant for use in _RUNGS for variant in _variants(code, use)))
    return Family(f"f32_f32p_{code.name}p", code.source, variants, partial(_reference, code), code.to_f32)


FAMILIES = tuple(_family(code) for code in (F16_CODE, BF16_CODE, F32_CODE))
