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
from kernels.families.floats.tile import FloatTile, HalfLoader
from kernels.families.variant import Family, MatmulVariant, PackVariant
from kernels.ladder import AVX2, AVX512_VNNI, NEON, SCALAR, Rung
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


def _reference(code: FloatCode, x: npt.NDArray[np.float32], raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """x: f32[M, K], raw: u8[N, row bytes] -> f32[M, N], summed in f64."""
    return (x.astype(np.float64) @ code.to_f32(raw).astype(np.float64).T).astype(np.float32)


def _family(code: FloatCode) -> Family:
    variants = tuple(variant for use in _RUNGS for variant in _variants(code, use))
    return Family(f"f32_f32p_{code.name}p", code.source, variants, partial(_reference, code), code.to_f32)


FAMILIES = tuple(_family(code) for code in (F16_CODE, BF16_CODE, F32_CODE))
