"""NumPy twin of attention in float64, over keys and values as they were stored. Knows no tile."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.attention.partials import LEVELS
from kernels.attention.sight import RANGE_TOKENS
from kernels.runtime.kv_types import F16_KV, NORM, KVType

Floats = npt.NDArray[np.floating]


def attention(
    q: npt.NDArray[np.float32],
    k: Floats,
    v: Floats,
    positions: npt.NDArray[np.int32],
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
) -> npt.NDArray[np.float64]:
    """q: f32[T, heads, head_dim], k, v: f16 or f32[tokens, kv_heads, head_dim] -> f64[T, heads, head_dim].

    Query row t sees the tokens up to and with positions[t], of these the last `window`; a kv head serves
    heads / kv_heads consecutive heads.
    """
    group = q.shape[1] // k.shape[1]
    keys, values = (np.repeat(x.astype(np.float64), group, axis=1) for x in (k, v))
    scores = scale * np.einsum("thd,shd->hts", q.astype(np.float64), keys)
    if soft_cap is not None:
        scores = soft_cap * np.tanh(scores / soft_cap)
    tokens = np.arange(k.shape[0])[None, :]
    unseen = tokens > positions[:, None]
    if window is not None:
        unseen |= tokens <= positions[:, None] - window
    scores = np.where(unseen, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1)
    mixed = np.einsum("hts,shd->thd", weights, values)
    return np.asarray(mixed / total.T[:, :, None])


def attention_error(
    q: npt.NDArray[np.float32],
    k: Floats,
    v: Floats,
    positions: npt.NDArray[np.int32],
    scale: float,
    window: int | None = None,
    soft_cap: float | None = None,
    kv: KVType = F16_KV,
) -> npt.NDArray[np.float64]:
    """How far f32 arithmetic may be from `attention`, per output element: first order, worst case.

    With u = 2^-24: a score (in units of log2) is off by (head_dim + 4) u sum |q k|; the difference to the maximum
    doubles it and adds u |s - m|; a weight is off by ln 2 times that and 2 u for 2^x; sums over n tokens add n u,
    merges and the division 8 u a range. Numerator and denominator are both off. A soft cap shrinks what comes in and
    adds 6 u cap of its own.

    In i16 a query's elements are off by half a step, its norm / 32704; 2^x by 2^-18; a weight by half a step, its
    range's sum / 32767, in units of its token's scale.
    """
    unit = 2.0**-24
    num_tokens, _, head_dim = k.shape
    magnitude = np.abs(q.astype(np.float64)) * scale
    group = q.shape[1] // k.shape[1]
    keys = np.repeat(np.abs(k.astype(np.float64)), group, axis=1)
    most = np.einsum("thd,shd->hts", magnitude, keys).max(axis=-1).T / np.log(2)  # f64[T, heads]
    weight = np.log(2) * (2 * (head_dim + 4) + 2) * unit * most + 2 * unit
    if kv.in_pairs:
        half_step = 0.5 * scale / NORM * np.linalg.norm(q.astype(np.float64), axis=-1)
        weight += 2 * half_step * keys.sum(axis=-1).max(axis=0) + 2.0**-18
    weight += 0 if soft_cap is None else 2 * 6 * unit * soft_cap
    sums = (num_tokens + 8 * (num_tokens / 128 + 1)) * unit
    average = attention(q, k, np.abs(v), positions, scale, window, soft_cap)
    bound = average * 2 * (weight + sums)[:, :, None]
    return np.asarray(bound + _rounded_weights(v, group) if kv.in_pairs else bound)


def _rounded_weights(v: Floats, group: int) -> npt.NDArray[np.float64]:
    """f64[heads, head_dim]: by how much weights that are integers change a row's output, in the worst range."""
    norms = np.linalg.norm(v.astype(np.float64), axis=-1)
    integers = np.abs(v) / np.where(norms > 0, norms, 1)[..., None]  # over 32704, as a range's sum is over 32767
    worst = np.zeros(v.shape[1:])
    for first in range(0, len(v), RANGE_TOKENS):
        part = slice(first, first + RANGE_TOKENS)
        worst = np.maximum(worst, norms[part].max(axis=0)[:, None] * integers[part].sum(axis=0))
    return np.repeat(worst * (0.5 / LEVELS), group, axis=0)
