"""Selected micro-kernels against their NumPy references, once, before weights are packed for them. Chooses nothing.

A small matmul: a row more than a tile has, or than take a path of their own, and columns that end inside a panel. A
pair of GEMM and GEMV passes if the LHS is packed to the reference's bytes, sums stay within the bound that the tests
use, the GEMV gives the GEMM's bits and nothing is written outside. What is wrong, broken by a compiler or a CPU, then
costs a rung and no answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.direct import WroteTooFar, matmul, pack_lhs
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.quant.random_rows import random_weights

BLOCK = 32
SEED = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """A rung of a family that must not be used."""

    kernel: str
    rung: str
    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kernel} failed its self-test on {self.source}: {self.reason}"


class SelfTest:
    """Tests each pair of micro-kernels once; `faults` are those that failed."""

    def __init__(self, library: KernelLibrary) -> None:
        self._library = library
        self._verdicts: dict[tuple[str, str], Fault | None] = {}

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(fault for fault in self._verdicts.values() if fault is not None)

    @property
    def num_tested(self) -> int:
        return len(self._verdicts)

    def __call__(self, family: Family, gemm: MatmulVariant, gemv: MatmulVariant) -> str | None:
        """The reason why the pair cannot be used, None if it can."""
        key = str(gemm.name), str(gemv.name)
        if key not in self._verdicts:
            self._verdicts[key] = self._verdict(family, gemm, gemv)
        fault = self._verdicts[key]
        return None if fault is None else fault.reason

    def _verdict(self, family: Family, gemm: MatmulVariant, gemv: MatmulVariant) -> Fault | None:
        packs = {v.lhs_pack.name: v.lhs_pack.emit for v in (gemm, gemv)}
        self._library.load([*packs.items(), *((str(v.name), v.emit) for v in (gemm, gemv))])
        k = 2 * family.k_step if family.k_step > BLOCK else 3 * BLOCK
        n = max(gemm.name.n_step, gemv.name.n_step) + gemm.rhs.nr // 2 + 1
        m = max(gemm.name.m_step, gemm.few_rows) + 1
        x = np.random.default_rng(SEED).standard_normal((m, k), np.float32)
        raw = random_weights(family.source, n, k, SEED)
        rhs = gemm.rhs.pack(raw)
        expected = family.reference(x, raw)
        bound = rounding_bound(family, x, raw)
        together = None
        for variant, rows in ((gemm, x), (gemv, x[:1])):
            reason = self._packing(variant, rows)
            if reason is None:
                try:
                    out = matmul(self._library, variant, rows, rhs, n)
                except WroteTooFar:
                    reason = "it wrote past its last column"
                else:
                    reason = _difference(out, expected[: len(rows)], bound[: len(rows)])
                    if reason is None and together is not None and out.tobytes() != together[:1].tobytes():
                        reason = "the GEMV's bits are not the GEMM's"
                    together = out
            if reason is not None:
                return Fault(str(variant.name), variant.rung.name, family.source, reason)
        return None

    def _packing(self, variant: MatmulVariant, x: npt.NDArray[np.float32]) -> str | None:
        packed, twin = pack_lhs(self._library, variant.lhs_pack, x), variant.lhs.pack(x).reshape(-1)
        wrong = np.flatnonzero(packed != twin)
        return f"{variant.lhs_pack.name} differs from its reference in byte {wrong[0]}" if len(wrong) else None


def rounding_bound(family: Family, x: npt.NDArray[np.float32], raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """f32[M, 1]: how far f32 sums may lie from the reference: one rounding per fma.

    There are 2 fma in a block of 32 in integer families, 32 in float families, whose reference is exact. Rows quantised
    as a whole have a zero point, so terms may be as large as the row's largest element and cancel.
    """
    k = x.shape[1]
    roundings = k if family.name.startswith("f32_f32p") else 2 * (k // BLOCK)
    most = np.abs(family.dequantise(raw)).max()
    size = np.abs(x).sum(-1, keepdims=True)
    if family.name.startswith("f32_qai8dxp"):
        size = 4 * k * np.abs(x).max(-1, keepdims=True)
    return np.asarray(2.0**-23 * roundings * size * most, np.float32)


def _difference(
    out: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], bound: npt.NDArray[np.float32]
) -> str | None:
    off = ~(np.abs(out - expected) <= bound)  # a NaN is off
    if not off.any():
        return None
    row, column = np.argwhere(off)[0]
    return f"row {row}, column {column} is {out[row, column]:.7g}, the reference {expected[row, column]:.7g}"
