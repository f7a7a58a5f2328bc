"""The NumPy twin of sampling: sorts, sums in f64, one row at a time. See the package for what it computes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_MASK: Final = 2**64 - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_XTC_STREAM: Final = 0x5851F42D4C957F2D


@dataclass(frozen=True, slots=True)
class RowSampling:
    """A row of SAMPLING as Python has it."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    position: int = 0
    num_top: int = 0
    bias: tuple[tuple[int, float], ...] = ()
    allowed: frozenset[int] | None = None
    typical_p: float = 1.0
    seen: tuple[tuple[int, int], ...] = ()
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    history: tuple[int, ...] = ()
    dry_allowed_length: int = 2
    dry_multiplier: float = 0.8
    dry_base: float = 1.75
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat_mu: float | None = None


@dataclass(frozen=True, slots=True)
class RowSampled:
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    surprise: float = 0.0


def sample(logits: npt.NDArray[np.float32], row: RowSampling) -> RowSampled:
    """logits: f32[V]"""
    plain = _clean(logits)
    logprobs = plain - plain.max() - np.log(np.exp(plain - plain.max()).sum())
    order = np.argsort(-plain, kind="stable")[: row.num_top]
    top = tuple((int(token), float(logprobs[token])) for token in order)

    edited = _clean(_edited(logits, row))
    token, surprise = int(edited.argmax()), 0.0
    if row.temperature >= 1e-5:
        weights = kept_weights(edited, row)
        sums = np.cumsum(weights)
        token = int(np.searchsorted(sums, uniform(row.seed, row.position) * sums[-1], side="right"))
        if row.mirostat_mu is not None:
            surprise = float(-np.log2(weights[token] / sums[-1]))
    return RowSampled(token, float(logprobs[token]), top, surprise)


def kept_weights(logits: npt.NDArray[np.float64], row: RowSampling) -> npt.NDArray[np.float64]:
    """Weights of the tokens that pass the filters, 0 for the others."""
    order = np.argsort(-logits, kind="stable")
    weights = np.exp((logits - logits.max()) / row.temperature)[order]
    if row.mirostat_mu is not None:
        weights[1:][weights[1:] < 2**-row.mirostat_mu * weights.sum()] = 0
    else:
        _filter(weights, order, row)
    kept: npt.NDArray[np.float64] = np.zeros_like(weights)
    kept[order] = weights
    return kept


def _filter(weights: npt.NDArray[np.float64], order: npt.NDArray[np.int64], row: RowSampling) -> None:
    """In place; weights by falling logit."""
    if row.min_p > 0:
        weights[weights < row.min_p] = 0
    if row.top_k > 0:
        weights[row.top_k :] = 0
    if 0 < row.typical_p < 1:
        with np.errstate(divide="ignore"):
            logs = np.log(weights / weights.sum())
        entropy = -(weights / weights.sum() * np.where(weights > 0, logs, 0)).sum()
        by_type = np.lexsort((order, np.abs(logs + entropy)))
        before = np.cumsum(weights[by_type]) - weights[by_type]
        weights[by_type[before >= row.typical_p * weights.sum()]] = 0
    if row.top_p < 1:
        before = np.cumsum(weights) - weights
        weights[before >= row.top_p * weights.sum()] = 0
        if not weights.any():
            weights[0] = 1
    if row.xtc_probability > 0 and uniform(row.seed ^ _XTC_STREAM, row.position) < row.xtc_probability:
        (top,) = np.nonzero(weights >= row.xtc_threshold * weights.sum())
        weights[top[:-1]] = 0


def uniform(seed: int, position: int) -> float:
    state = _mix((seed + _GOLDEN) & _MASK)
    return (_mix(((state ^ (position & _MASK)) + _GOLDEN) & _MASK) >> 11) * 2.0**-53


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _clean(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(logits.astype(np.float64), nan=-1e30).clip(-1e30, 1e30)


def _edited(logits: npt.NDArray[np.float32], row: RowSampling) -> npt.NDArray[np.float32]:
    edited = logits.copy()
    for token, bias in row.bias:
        edited[token] += np.float32(bias)
    for token, count in row.seen:
        logit = edited[token]
        penalty = np.float32(row.repetition_penalty)
        edited[token] = logit / penalty if logit > 0 else logit * penalty
        if count:
            edited[token] -= np.float32(row.presence_penalty)
            edited[token] -= np.float32(count) * np.float32(row.frequency_penalty)
    for token, length in _repeated(row.history).items():
        if token < len(edited) and length >= row.dry_allowed_length:
            edited[token] -= np.float32(row.dry_multiplier * row.dry_base ** (length - row.dry_allowed_length))
    if row.allowed is not None:
        banned = np.ones(len(edited), bool)
        banned[sorted(row.allowed)] = False
        edited[banned] = -np.inf
    return edited


def _repeated(history: tuple[int, ...]) -> dict[int, int]:
    """Of each token that would continue a repetition: the longest match, at most 64 tokens."""
    found: dict[int, int] = {}
    for end in range(1, len(history)):
        length = 0
        while length < min(end, 64) and history[end - 1 - length] == history[-1 - length]:
            length += 1
        if length > found.get(history[end], 0) and history[end] >= 0:
            found[history[end]] = length
    return found
