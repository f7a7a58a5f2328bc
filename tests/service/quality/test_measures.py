"""The measures against their definitions, on small numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.quality.measures import Divergence, Mean, Prediction, log_probabilities


def test_log_probabilities() -> None:
    logits = np.array([[1e4, 1e4, -1e4], [0, math.log(2), math.log(5)]], np.float32)
    np.testing.assert_allclose(np.exp(log_probabilities(logits)), [[0.5, 0.5, 0], [1 / 8, 2 / 8, 5 / 8]], atol=1e-7)


def test_perplexity_is_e_to_the_mean_loss() -> None:
    prediction = Prediction()
    log_p = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    prediction.add(log_p, np.array([1, 1]))
    prediction.add(log_p[:1], np.array([0]))
    assert prediction.num_tokens == 3
    assert prediction.perplexity.value == pytest.approx((4 * 1.25 * 2) ** (1 / 3))


def test_a_uniform_model_is_as_perplexed_as_it_has_tokens() -> None:
    prediction = Prediction()
    prediction.add(log_probabilities(np.zeros((7, 379), np.float32)), np.arange(7))
    assert prediction.perplexity.value == pytest.approx(379)
    assert prediction.perplexity.error == pytest.approx(0, abs=1e-9)


def test_divergence() -> None:
    divergence = Divergence()
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    divergence.add(np.log(q), np.log(p))
    np.testing.assert_allclose(divergence.kl, [0.5 * math.log(2) + 0.5 * math.log(2 / 3), 0], atol=1e-12)
    assert divergence.same_best.value == 0.5


def test_the_error_of_a_mean() -> None:
    found = Mean.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.value == 2.5
    assert found.error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert Mean.of(np.array([1.0])).error == math.inf
