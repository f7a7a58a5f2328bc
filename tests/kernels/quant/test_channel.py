"""Formats with a scale per channel or group: what is quantised comes back within half a step."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.quant.blocks import Q4_0
from kernels.quant.channel import CHANNEL_FORMATS, QC8, ChannelFormat
from kernels.quant.random_rows import random_weights

FORMATS = [pytest.param(form, id=form.name) for form in CHANNEL_FORMATS.values()]


@pytest.mark.parametrize("form", FORMATS)
def test_within_half_a_step(form: ChannelFormat) -> None:
    w = np.random.default_rng(1).standard_normal((7, 256)).astype(np.float32)
    raw = form.quantise(w)
    assert raw.shape == (7, form.row_bytes(256))
    scales, _ = form.split(raw)
    steps = np.repeat(np.abs(scales), 256 // scales.shape[1], axis=1)
    error = np.abs(form.dequantise(raw) - w)
    # With 4 bits the ends of the range may be clipped: what that costs, the others gain.
    assert (error <= steps * (0.501 if form.bits == 8 else 4)).all()
    assert np.median(error / steps) < 0.3


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_read_back_is_quantised_to_the_same_bytes(form: ChannelFormat) -> None:
    w = np.random.default_rng(2).standard_normal((5, 128)).astype(np.float32)
    raw = form.quantise(w)
    again = form.quantise(form.dequantise(raw))
    np.testing.assert_allclose(form.dequantise(again), form.dequantise(raw), rtol=2e-3)


@pytest.mark.parametrize("form", FORMATS)
def test_zeros_and_large_rows(form: ChannelFormat) -> None:
    w = np.zeros((2, 128), np.float32)
    w[1, 3] = -1e4
    back = form.dequantise(form.quantise(w))
    assert not back[0].any()
    assert back[1, 3] == pytest.approx(-1e4, rel=1e-3)
    assert np.count_nonzero(back[1]) == 1


def test_bytes_keep_within_127() -> None:
    w = np.array([[-1.0, 1.0] * 16], np.float32)
    _, stored = QC8.split(QC8.quantise(w))
    assert set(QC8.codes(stored).reshape(-1)) == {-127, 127}


def test_groups_of_32_are_rows_of_q4_0() -> None:
    raw = random_weights("Q4_0", 3, 96, seed=4)
    np.testing.assert_array_equal(CHANNEL_FORMATS["gemmule.8DA4W_G32"].dequantise(raw), Q4_0.dequantise(raw))


@pytest.mark.parametrize("form", FORMATS)
def test_split_and_join(form: ChannelFormat) -> None:
    raw = random_weights(form.name, 4, 128, seed=5)
    scales, stored = form.split(raw)
    np.testing.assert_array_equal(form.join(scales, form.codes(stored)), raw)


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_of_rows_tell_their_elements(form: ChannelFormat) -> None:
    known = {form.row_bytes(k): k for k in range(form.row_block, 4096, form.row_block)}
    for row_bytes in range(-5, 1200):
        assert form.num_elements(row_bytes) == known.get(row_bytes)
