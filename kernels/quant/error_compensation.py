"""Rounds a matrix so that its products, not its weights, change least: GPTQ (Frantar et al., arXiv:2210.17323).

Of inputs x with second moments H = E[x x^T] the product's expected squared error is (w - q) H (w - q)^T for each row.
Columns are rounded one after the other, those with the largest inputs first, and what a column loses is made good by
those that follow: with the upper triangular U of H^-1 = U^T U, rounding column j costs (w_j - q_j)^2 / U_jj^2, and the
others become w_k - (w_j - q_j) U_jk / U_jj. The scales are searched before, with H_jj as the importance of a weight.
Knows no format of files and not where the moments come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kernels.quant.channel import ChannelFormat
from kernels.quant.scale_search import search_scales

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

DAMPING = 0.01  # of the mean moment, added to each: some columns were hardly seen, and sums are rounded
BLOCK = 64  # columns after which the rest of the matrix learns what they lost
LEAF = 64  # of the recursion that inverts a triangle


@dataclass(frozen=True, slots=True)
class Compensation:
    """`order`: i64[K], of the columns. `factor`: U, f32[K, K], in this order. `importance`: H_jj, f32[K], in the
    matrix's own."""

    order: npt.NDArray[np.int64]
    factor: Floats
    importance: Floats

    @classmethod
    def of(cls, moments: Floats) -> Self:
        """moments: H f32[K, K], of any unit"""
        h = moments.astype(np.float64)
        h /= h.diagonal().mean() or 1.0
        h[np.diag_indices_from(h)] += DAMPING
        importance = h.diagonal().astype(np.float32)
        order = np.argsort(-importance, kind="stable")
        # With the columns backwards H is L L^T, so it is R R^T with R upper triangular, and H^-1 is R^-T R^-1.
        backwards = order[::-1]
        lower = np.linalg.cholesky(h[np.ix_(backwards, backwards)])
        return cls(order, inverse_of_lower(np.asarray(lower, np.float64))[::-1, ::-1].astype(np.float32), importance)


def inverse_of_lower(lower: Doubles) -> Doubles:
    """L: f64[K, K], lower triangular -> L^-1. By halves, so most of it are products."""
    k = len(lower)
    if k <= LEAF:
        return np.tril(np.linalg.inv(lower))
    half = k // 2
    made = np.zeros_like(lower)
    first = made[:half, :half] = inverse_of_lower(lower[:half, :half])
    last = made[half:, half:] = inverse_of_lower(lower[half:, half:])
    made[half:, :half] = -last @ (lower[half:, :half] @ first)
    return made


def quantise_compensated(w: Floats, known: Compensation, form: ChannelFormat) -> Bytes:
    """w: f32[N, K], finite -> u8[N, row bytes], of a format with 4 bits."""
    num_rows, k = w.shape
    group = form.group or k
    importance = known.importance.reshape(-1, group)
    scales = form.kept(search_scales(w.reshape(num_rows, -1, group), form.least, form.most, importance))
    left = np.ascontiguousarray(w.T[known.order])
    by_column = np.ascontiguousarray(scales.T)
    inverses = np.divide(np.float32(1), by_column, out=np.zeros_like(by_column), where=by_column != 0)
    codes = np.empty((k, num_rows), np.int8)
    factor = known.factor
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        lost = np.empty((stop - start, num_rows), np.float32)
        for j in range(start, stop):
            column = known.order[j]
            rounded = np.clip(np.rint(left[j] * inverses[column // group]), form.least, form.most)
            codes[column] = rounded
            lost[j - start] = (left[j] - by_column[column // group] * rounded) / factor[j, j]
            left[j + 1 : stop] -= factor[j, j + 1 : stop, None] * lost[j - start]
        left[stop:] -= factor[start:stop, stop:].T @ lost
    return form.join(scales, np.ascontiguousarray(codes.T))
