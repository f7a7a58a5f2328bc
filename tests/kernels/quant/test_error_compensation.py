"""Rounding by second moments: the factor is what it says, products change less than by the nearest codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.quant.channel import GROUPS, Q4CX, ChannelFormat
from kernels.quant.error_compensation import DAMPING, Compensation, inverse_of_lower, quantise_compensated

F32 = np.ndarray


def inputs(random: np.random.Generator, num_tokens: int, k: int) -> F32:
    """f32[T, K]: columns that depend on each other, some of them much larger than others."""
    mixed = random.standard_normal((num_tokens, k)) @ (np.eye(k) + random.standard_normal((k, k)) / 16)
    return (mixed * np.exp(random.standard_normal(k))).astype(np.float32)


def product_error(form: ChannelFormat, raw: F32, w: F32, x: F32) -> float:
    return float((((form.dequantise(raw) - w) @ x.T) ** 2).sum())


@given(
    num_rows=st.integers(30, 50),
    blocks=st.integers(2, 4),
    group=st.sampled_from([0, 1, 2, 3]),
    seed=st.integers(0, 999),
)
def test_products_change_less(num_rows: int, blocks: int, group: int, seed: int) -> None:
    """On inputs that the moments were not taken of, for all groups, and for K that are no multiple of a block."""
    form = (*GROUPS, Q4CX)[group]
    k = form.row_block * blocks
    random = np.random.default_rng(seed)
    x = inputs(random, 8 * k, k)
    seen, unseen = x[: 6 * k], x[6 * k :]
    w = random.standard_normal((num_rows, k)).astype(np.float32)
    raw = quantise_compensated(w, Compensation.of(seen.T @ seen), form)
    assert raw.shape == (num_rows, form.row_bytes(k))
    assert product_error(form, raw, w, unseen) < product_error(form, form.quantise(w), w, unseen)


def test_the_factor_is_that_of_the_inverse() -> None:
    x = inputs(np.random.default_rng(1), 400, 160)
    moments = x.T @ x
    known = Compensation.of(moments)
    damped = moments.astype(np.float64) / moments.diagonal().mean() + DAMPING * np.eye(160)
    ordered = damped[np.ix_(known.order, known.order)]
    factor = known.factor.astype(np.float64)
    assert (np.tril(factor, -1) == 0).all()
    np.testing.assert_allclose(factor.T @ factor @ ordered, np.eye(160), atol=1e-5)
    assert (np.diff(known.importance[known.order]) <= 0).all()


@pytest.mark.parametrize("k", [1, 63, 64, 65, 200])
def test_inverse_of_a_triangle(k: int) -> None:
    lower = np.tril(np.random.default_rng(k).standard_normal((k, k))) / k + np.eye(k)
    np.testing.assert_allclose(inverse_of_lower(lower) @ lower, np.eye(k), atol=1e-12)


def test_moments_of_one_column_and_of_none() -> None:
    """Without dependent inputs nothing is made good: these are the nearest codes of the same scales."""
    form = GROUPS[1]
    w = np.random.default_rng(5).standard_normal((4, 128)).astype(np.float32)
    nothing = Compensation.of(np.zeros((128, 128), np.float32))
    np.testing.assert_array_equal(quantise_compensated(w, nothing, form), form.quantise(w))
    one = np.zeros((128, 128), np.float32)
    one[7, 7] = 1e12
    error = np.abs(form.dequantise(quantise_compensated(w, Compensation.of(one), form)) - w)
    assert np.isfinite(error).all()
    assert (error[:, 7] <= np.abs(form.dequantise(form.quantise(w)) - w)[:, 7] + 0.02).all()


def test_zeros() -> None:
    form = GROUPS[0]
    raw = quantise_compensated(np.zeros((2, 64), np.float32), Compensation.of(np.eye(64, dtype=np.float32)), form)
    assert (form.dequantise(raw) == 0).all()
