"""Mirostat 2 (Basu et al. 2021): draw among the tokens that surprise by at most mu bits. Native; who calls keeps mu."""

import math
from typing import Any, Final

import numpy as np

from kernels.jit.function import native
from kernels.jit.native import load
from kernels.ops.sampling.draw import draw_place
from kernels.ops.sampling.partials import WARM, total_weight
from kernels.ops.sampling.select import collect, weigh

LN2: Final = math.log(2.0)


@native
def draw_by_surprise(
    op: Any,
    sampling: Any,
    logits: int,
    partials: int,
    groups: int,
    most: float,
    inverse: float,
    number: float,
    scratch: int,
) -> Any:
    """(token, its surprise in bits among what was left); token -1: nothing surprises so little.

    inverse: 1 / temperature, of which the partials' sums are, too.
    """
    size = op.array_bytes
    indices, values, weights = scratch, scratch + size, scratch + 2 * size
    total = total_weight(partials, op.num_chunks, most, inverse, WARM)
    # -log2(e^((l - most) / temperature) / total) <= mu
    temperature = np.float64(sampling.temperature)
    bound: Any = np.float32(most + temperature * (math.log(total) - np.float64(sampling.mirostat_mu) * LN2))
    count = collect(logits, op.vocab, groups, bound, indices, values)
    if count == 0:
        return np.int64(-1), np.float32(0)
    weigh(values, count, most, inverse, weights)
    place = draw_place(weights, count, number)
    kept = 0.0
    for i in range(count):
        kept += np.float64(load(weights + 4 * i, np.float32))
    surprise = -math.log(np.float64(load(weights + 4 * place, np.float32)) / kept) / LN2
    return np.int64(load(indices + 4 * place, np.int32)), np.float32(surprise)
