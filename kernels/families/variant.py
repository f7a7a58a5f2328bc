"""What a matmul micro-kernel is, as a value: name, rung, layouts, emitter. Knows no family and no choice.

The C signature of every matmul micro-kernel, `m`, `n` and `k` being the portion's sizes:

    void kernel(i64 m, i64 n, i64 k, const void *lhs, const void *rhs, f32 *dst, i64 dst_stride_bytes, f32 lo, f32 hi)

`lhs` and `rhs` point at the packed panels where the portion begins, `dst` at its first element; dst = clamp(lhs x rhs).
The C signature of every LHS packing micro-kernel, which packs at most one panel's rows when mr > 1:

    void pack(i64 m, i64 k, const f32 *src, i64 src_stride_bytes, void *dst)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernels.ladder import Rung
from kernels.naming import MatmulName


class PackedLhs(Protocol):
    """How activations lie in memory: panels of `mr` rows."""

    @property
    def mr(self) -> int: ...

    @property
    def pack_name(self) -> str: ...

    @property
    def part_elements(self) -> int:
        """Of K: so many are packed without a look at the others."""

    @property
    def part_bytes(self) -> int:
        """Of so many elements of a panel; 0: rows are packed as a whole."""

    def panel_bytes(self, k: int) -> int: ...

    def pack(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]: ...


class PackedRhs(Protocol):
    """How weights lie in memory: panels of `nr` columns (rows of the stored weight matrix)."""

    @property
    def nr(self) -> int: ...

    @property
    def layout_id(self) -> str: ...

    def panel_bytes(self, k: int) -> int: ...

    def pack(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True)
class PackVariant:
    """A micro-kernel that quantises and packs the LHS."""

    name: str
    rung: Rung
    layout: PackedLhs
    emit: Callable[[], str]


@dataclass(frozen=True, slots=True)
class MatmulVariant:
    """A matmul micro-kernel. `is_gemv`: made for m = 1.

    least_rows: of a portion, even if their LHS does not stay in L2: the micro-kernel divides K itself.
    few_rows: portions of so many rows, or less, take a path of their own; 0: none do.
    """

    name: MatmulName
    rung: Rung
    lhs: PackedLhs
    rhs: PackedRhs
    lhs_pack: PackVariant
    emit: Callable[[], str]
    least_rows: int = 0
    few_rows: int = 0

    @property
    def is_gemv(self) -> bool:
        return self.name.m_step == 1


@dataclass(frozen=True, slots=True)
class Family:
    """The variants of one (dst, LHS, RHS) triple, and the weights they serve.

    variants: in the order of the ladder. Of a rung's GEMMs, and of its GEMVs, the first one is the static choice; the
    others are candidates, which a measurement on the machine may prefer.
    source: the GGUF tensor type whose blocks pack into this family's RHS without loss.
    reference: f32[m, k], raw u8[n, row bytes] -> f32[m, n], the same formula in NumPy.
    dequantise: raw u8[n, row bytes] -> f32[n, k].
    k_step: k is a multiple of it.
    lower_gemm: where a rung takes the next one's GEMV, that one's GEMM is a candidate, too.
    """

    name: str
    source: str
    variants: tuple[MatmulVariant, ...]
    reference: Callable[[npt.NDArray[np.float32], npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
    dequantise: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
    k_step: int = 32
    lower_gemm: bool = False

    def gemv_beside(self, gemm: MatmulVariant) -> MatmulVariant:
        """The GEMV that goes with a GEMM: its rung's own, or the next lower rung's that reads the same packed RHS."""
        at_or_below = self.variants[self.variants.index(gemm) :]
        return next(variant for variant in at_or_below if variant.is_gemv and variant.rhs == gemm.rhs)

    def gemms_beside(self, gemm: MatmulVariant) -> tuple[MatmulVariant, ...]:
        """What may take a GEMM's place, itself first: it reads the same packed RHS."""
        first, gemv = self.variants.index(gemm), self.gemv_beside(gemm)
        rungs = (gemm.rung, gemv.rung) if self.lower_gemm else (gemm.rung,)
        later = self.variants[first : self.variants.index(gemv)]
        return tuple(v for v in later if not v.is_gemv and v.rung in rungs and v.rhs == gemm.rhs)

    def gemvs_beside(self, gemm: MatmulVariant) -> tuple[MatmulVariant, ...]:
        """What may take the place of the GEMV beside a GEMM, itself first: of its rung, with its packed operands."""
        gemv = self.gemv_beside(gemm)
        alike = (gemv.rung, gemv.lhs, gemv.rhs)
        return tuple(v for v in self.variants if v.is_gemv and (v.rung, v.lhs, v.rhs) == alike)
