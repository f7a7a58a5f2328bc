"""Rows quantised as a whole: how near the product comes to the f32 one, zero points and ranges at their ends."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.families.direct import matmul
from kernels.families.rowwise.families import FAMILIES
from kernels.families.rowwise.lhs import Qai8dx, quantise
from kernels.families.rowwise.tile_lhs import TileQai8dx
from kernels.families.variant import Family
from kernels.jit.library import KernelLibrary
from kernels.quant.channel import CHANNEL_FORMATS
from kernels.quant.random_rows import random_weights
from kernels.select import choose_matmul

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family.source))
K = 512


@EVERY_FAMILY
def test_near_the_product_of_floats(family: Family) -> None:
    """With rows far from zero on one side too, where the zero point does its work."""
    random = np.random.default_rng(1)
    w = random.standard_normal((40, K)).astype(np.float32)
    x = random.standard_normal((9, K)).astype(np.float32) + np.linspace(-3, 3, 9, dtype=np.float32)[:, None]
    raw = CHANNEL_FORMATS[family.source].quantise(w)
    choice = choose_matmul(family, detect_cpu())
    out = matmul(KernelLibrary(), choice.gemm, x, choice.rhs.pack(raw), 40)
    exact = x @ family.dequantise(raw).T
    assert np.abs(out - exact).max() < 0.02 * np.abs(exact).max()
    assert np.corrcoef(out.reshape(-1), exact.reshape(-1))[0, 1] > 0.999


@pytest.mark.parametrize(
    "row",
    [
        [0.0] * 32,
        [1.0] * 32,
        [-1.0] * 32,
        [1e-38] * 32,
        [3e38, -3e38] * 16,
        [1e30] * 31 + [-1e-30],
        list(np.linspace(-1, 1, 32)),
        list(np.linspace(5, 6, 32)),
    ],
)
def test_codes_span_the_row_and_hold_zero(row: list[float]) -> None:
    x = np.array([row], np.float32)
    d, zero, q = quantise(x)
    assert np.isfinite(d).all()
    assert (np.abs(q.astype(int)) <= 127).all()
    assert abs(int(zero[0])) <= 127
    back = d[:, None].astype(np.float64) * (q.astype(np.float64) - zero[:, None])
    assert (np.abs(back - x) <= 1.01 * np.maximum(d[:, None], 2.0**-99)).all()


@EVERY_FAMILY
def test_zero_rows_give_zeros(family: Family) -> None:
    raw = CHANNEL_FORMATS[family.source].quantise(np.random.default_rng(2).standard_normal((8, K)).astype(np.float32))
    choice = choose_matmul(family, detect_cpu())
    out = matmul(KernelLibrary(), choice.gemm, np.zeros((3, K), np.float32), choice.rhs.pack(raw), 8)
    np.testing.assert_array_equal(out, 0)


@EVERY_FAMILY
@pytest.mark.parametrize(
    ("m", "n", "k"), [(9, 32, 896), (27, 70, 1664), (47, 33, 2304), (530, 40, 1568), (272, 300, 4128)]
)
def test_stretches_of_k_and_rows_that_are_left(family: Family, m: int, n: int, k: int) -> None:
    """The bits of the scalar rung, where sums rest between stretches, tiles have every height and rows leave L2."""
    k = -(-k // family.k_step) * family.k_step
    raw = random_weights(family.source, n, k, seed=m)
    x = np.random.default_rng(k).standard_normal((m, k)).astype(np.float32)
    outs = []
    for cap in (None, "scalar"):
        choice = choose_matmul(family, detect_cpu(), cap)
        outs.append(matmul(KernelLibrary(), choice.gemm, x, choice.rhs.pack(raw), n, (-3.0, 5.0)))
    np.testing.assert_array_equal(*outs)


def test_rows_of_the_tile_layout_are_64_bytes_long() -> None:
    """The same codes and biases as one row at a time; an odd block stands alone."""
    x = np.random.default_rng(3).standard_normal((18, 96)).astype(np.float32)
    tile, row = TileQai8dx(), Qai8dx(1, 4)
    packed, rows = tile.pack(x), row.pack(x)
    assert packed.shape == (2, tile.panel_bytes(96)) == (2, 192 + 2 * (128 + 16 * 64))
    for m, alone in enumerate(rows):
        panel, lane = packed[m // 16], m % 16
        for block in range(3):
            at = alone[row.header_bytes + block * row.block_bytes :]
            pair, half = 192 + block // 2 * 1152, block % 2
            quants = panel[pair + 128 + 64 * lane + 32 * half :][:32]
            np.testing.assert_array_equal(quants, at[row.quants_offset : row.quants_offset + 32])
            bias = panel[pair + 64 * (lane // 8) + 32 * half + 4 * (lane % 8) :][:4]
            np.testing.assert_array_equal(bias, at[:4])
