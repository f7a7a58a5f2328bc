"""Perplexity, Kullback-Leibler divergence and agreement of the best token, as llama-perplexity defines them. Arrays in,
numbers out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


def log_probabilities(logits: F32) -> F64:
    """f32[T, V] -> f64[T, V]"""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


@dataclass(frozen=True, slots=True)
class Mean:
    """Of some values, with the standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: F64) -> Mean:
        count = len(values)
        return cls(float(values.mean()), float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.inf)


class Prediction:
    """Collects how likely a model finds each next token."""

    def __init__(self) -> None:
        self._losses: list[F64] = []

    def add(self, log_p: F64, next_ids: Ids) -> None:
        """log_p: f64[T, V] of T positions, next_ids: i64[T]."""
        self._losses.append(-log_p[np.arange(len(next_ids)), next_ids])

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self._losses))

    @property
    def perplexity(self) -> Mean:
        """e to the mean loss; the error is that of the mean, carried through."""
        loss = Mean.of(np.concatenate(self._losses))
        value = math.exp(loss.value)
        return Mean(value, value * loss.error)


class Divergence:
    """Collects how far a model's distributions are from a reference's."""

    def __init__(self) -> None:
        self._kl: list[F64] = []
        self._agree: list[npt.NDArray[np.bool_]] = []

    def add(self, log_p: F64, reference: F64) -> None:
        """Both f64[T, V]: KL(reference || model), and whether the greatest is the same."""
        self._kl.append((np.exp(reference) * (reference - log_p)).sum(axis=1))
        self._agree.append(log_p.argmax(axis=1) == reference.argmax(axis=1))

    @property
    def kl(self) -> F64:
        return np.concatenate(self._kl)

    @property
    def mean_kl(self) -> Mean:
        return Mean.of(self.kl)

    @property
    def same_best(self) -> Mean:
        return Mean.of(np.concatenate(self._agree).astype(np.float64))
