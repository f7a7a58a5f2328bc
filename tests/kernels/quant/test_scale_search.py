"""The scale of least squared error: never worse than the plain one, and near the best of a fine sweep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.quant.scale_search import round_to_codes, search_scales

LEAST, MOST = -8, 7


def squared_error(w: np.ndarray, scales: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    codes = round_to_codes(w, scales, LEAST, MOST).astype(np.float32)
    squares = (w - codes * scales[..., None]) ** 2
    return np.asarray((squares if importance is None else squares * importance).sum(axis=-1))


@pytest.mark.parametrize("group", [32, 64, 576])
def test_near_the_best_of_a_sweep(group: int) -> None:
    w = np.random.default_rng(group).standard_normal((40, 3, group)).astype(np.float32)
    extreme = np.take_along_axis(w, np.abs(w).argmax(axis=-1)[..., None], axis=-1)[..., 0]
    found = squared_error(w, search_scales(w, LEAST, MOST))
    plain = squared_error(w, extreme / np.float32(-8))
    swept = [squared_error(w, extreme / np.float32(reach)) for reach in np.arange(-14, 14, 0.05) if abs(reach) > 1]
    assert found.sum() < 0.92 * plain.sum()
    assert found.sum() < 1.10 * np.minimum.reduce(swept).sum()


def test_zeros_and_one_weight() -> None:
    w = np.zeros((1, 2, 32), np.float32)
    w[0, 1, 5] = 3e-20
    scales = search_scales(w, LEAST, MOST)
    assert scales[0, 0] == 0
    assert (round_to_codes(w, scales, LEAST, MOST)[0, 0] == 0).all()


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.sampled_from([32, 64, 96, 128])),
    seed=st.integers(0, 1 << 32),
    is_weighted=st.booleans(),
)
def test_never_worse_than_the_plain_scale(shape: tuple[int, int, int], seed: int, is_weighted: bool) -> None:
    """By the error that it was asked for: -8 for the extreme weight, and +7, are among what it tries."""
    random = np.random.default_rng(seed)
    w = (random.standard_t(3, shape) * random.exponential(1, shape[:2])[..., None]).astype(np.float32)
    importance = random.exponential(1, shape[1:]).astype(np.float32) + np.float32(0.01) if is_weighted else None
    plain = np.take_along_axis(w, np.abs(w).argmax(axis=-1)[..., None], axis=-1)[..., 0] / np.float32(-8)
    found = squared_error(w, search_scales(w, LEAST, MOST, importance), importance)
    assert (found <= 1.0001 * squared_error(w, plain, importance)).all()


def test_importance_moves_the_error_to_where_it_matters_less() -> None:
    w = np.random.default_rng(3).standard_normal((200, 1, 64)).astype(np.float32)
    importance = np.where(np.arange(64) < 8, np.float32(100), np.float32(1))[None]
    weighted, alike = search_scales(w, LEAST, MOST, importance), search_scales(w, LEAST, MOST)
    assert squared_error(w, weighted, importance).sum() < 0.8 * squared_error(w, alike, importance).sum()
    assert squared_error(w, weighted).sum() > squared_error(w, alike).sum()
