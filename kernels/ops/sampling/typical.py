"""Locally typical sampling (Meister et al. 2023): keep what is about as surprising as the distribution is. Native."""

from typing import Any

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, store
from kernels.ops.sampling.select import cut, ordered_key


@inlined
def _typicality(value: Any, most: Any, inverse_temperature: Any, offset: float) -> Any:
    """-|log p + entropy| as f32: the greatest is the most typical."""
    scaled = (np.float64(value) - np.float64(most)) * np.float64(inverse_temperature)
    return np.float32(-abs(scaled - offset))


@native
def keep_typical(
    indices: int,
    values: int,
    weights: int,
    count: int,
    most: float,
    inverse_temperature: float,
    typical_p: float,
    keys: int,
    spent: int,
    bins: int,
) -> int:
    """Reduce candidates, in place and in order, to the most typical of at least `typical_p` of their mass."""
    total, moment = 0.0, 0.0
    for i in range(count):
        weight = np.float64(load(weights + 4 * i, np.float32))
        value = np.float64(load(values + 4 * i, np.float32))
        total += weight
        if weight > 0.0:
            moment += weight * (value - np.float64(most)) * np.float64(inverse_temperature)
    # log p = scaled - log(total) and entropy = log(total) - moment / total: log(total) falls out of their sum.
    offset = moment / total
    for i in range(count):
        score = _typicality(load(values + 4 * i, np.float32), most, inverse_temperature, offset)
        store(keys + 4 * i, ordered_key(score), np.int32)
        store(spent + 4 * i, load(weights + 4 * i, np.float32), np.float32)
    key, ties = cut(keys, spent, count, np.float64(typical_p) * total, bins)
    kept = 0
    for i in range(count):
        value = load(values + 4 * i, np.float32)
        own = np.int64(ordered_key(_typicality(value, most, inverse_temperature, offset)))
        if own > key or (own == key and ties > 0):
            if own == key:
                ties -= 1
            store(indices + 4 * kept, load(indices + 4 * i, np.int32), np.int32)
            store(values + 4 * kept, value, np.float32)
            store(weights + 4 * kept, load(weights + 4 * i, np.float32), np.float32)
            kept += 1
    return kept
