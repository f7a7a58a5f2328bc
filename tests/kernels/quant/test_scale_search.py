"""The scale of least squared error: never worse than the plain one, and near the best of a fine sweep."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.quant.scale_search import round_to_codes, search_scales

LEAST, MOST = -8, 7


def squared_error(w: np.ndarray, scales: np.ndarray) -> np.ndarray:
    codes = round_to_codes(w, scales, LEAST, MOST).astype(np.float32)
    return np.asarray(((w - codes * scales[..., None]) ** 2).sum(axis=-1))


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
