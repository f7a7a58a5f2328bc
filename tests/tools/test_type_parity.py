"""What llama-perplexity saves is read as it writes it, and the verdicts say who missed what."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from service.quality.measures import log_probabilities
from service.quality.windows import Window
from tools.parity.peer_logits import SavedLogits, divergence
from tools.parity.weight_types import Nearness
from tools.peer.llamacpp import PeerError

VOCABULARY, CONTEXT = 7, 8  # an odd vocabulary: rows are padded


def saved(path: Path, windows: np.ndarray, log_p: np.ndarray) -> Path:
    """As llama.cpp's perplexity tool writes it. log_p: f64[windows, rows, VOCABULARY]"""
    raw = b"_logits_" + struct.pack("<3i", CONTEXT, VOCABULARY, len(windows)) + windows.astype("<i4").tobytes()
    for row in log_p.reshape(-1, VOCABULARY):
        least = max(row.min(), row.max() - 16)
        scale = (row.max() - least) / 65535
        codes = np.rint((np.maximum(row, least) - least) / scale).astype("<u2")
        raw += struct.pack("<2f", scale, least) + codes.tobytes() + bytes(2)
    path.write_bytes(raw)
    return path


def test_saved_logits_come_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    windows = random.integers(0, VOCABULARY, (2, CONTEXT))
    rows = Window(windows[0]).num_scored
    log_p = log_probabilities(random.standard_normal((2 * rows, VOCABULARY)).astype(np.float32) * 5)
    found = SavedLogits.open(saved(tmp_path / "a.kld", windows, log_p.reshape(2, rows, VOCABULARY)))
    for index in range(2):
        np.testing.assert_array_equal(found.windows[index], windows[index])
        np.testing.assert_allclose(found.log_p(index), log_p.reshape(2, rows, -1)[index], atol=3e-4)


def test_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"something else")
    with pytest.raises(PeerError, match="b is not what llama-perplexity saves"):
        SavedLogits.open(tmp_path / "b")


def test_divergence_leaves_out_what_was_cut_off() -> None:
    reference = np.log(np.array([[0.7, 0.3 - 1e-7, 1e-8]]))
    other = np.log(np.array([[0.6, 0.4, 1e-30]]))
    expected = 0.7 * np.log(0.7 / 0.6) + 0.3 * np.log(0.3 / 0.4)
    assert divergence(other, reference)[0] == pytest.approx(expected, abs=1e-6)
    assert divergence(reference, reference)[0] == 0


def test_nearness_and_verdicts() -> None:
    log_p = log_probabilities(np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32))
    window = Window(np.array([0, 1, 2, 3, 4, 1, 0, 2]))
    same = Nearness.of(iter([(window, log_p, log_p)]))
    assert (same.perplexity, same.kl, same.same, same.num_scored) == (0, 0, 1, 3)
    assert same.verdicts(None) == ["met"] * 3
    far, itself = Nearness(0.006, 0.0022, 0.96, 100), Nearness(0.001, 0.0021, 0.965, 100)
    assert far.verdicts(None) == ["MISSED"] * 3
    assert far.verdicts(itself) == ["MISSED", "peer too", "peer too"]
