"""The f32 yardstick computes the model it is meant to: the oracle's logits, in one go and token by token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.oracle import Oracle
from tools.baseline.__main__ import Line
from tools.baseline.numpy_llama import NumpyLlama


def test_logits_are_the_oracles(tiny_gguf_of: Callable[..., Path]) -> None:
    path = tiny_gguf_of()
    model, oracle = NumpyLlama(path, 64), Oracle(path)
    tokens = np.random.default_rng(1).integers(0, model.embedding.shape[0], 20)
    expected = oracle.logits(list(tokens))
    np.testing.assert_allclose(model.logits(tokens, 0)[0], expected[-1], rtol=1e-3, atol=2e-3)
    for position in range(20):
        out = model.logits(tokens[position : position + 1], position)
        np.testing.assert_allclose(out[0], expected[position], rtol=1e-3, atol=2e-3)


def test_a_line_of_the_table() -> None:
    line = Line("x", prefill_s=[0.5, 1.0, 2.0], decode_s=[1.0, 0.5, 0.6], token_bytes=100_000_000)
    assert line.cells(50e9) == ["x", "512", "83.3", "700 / 500 / 1000", "100 MB", "17%"]
