"""Per chunk of the vocabulary: greatest logit, sums of exponentials; per group of 64: greatest logit. Native.

A partial is f32[4]: greatest logit, sum of e^(l - greatest), the same of logits / temperature, 1 if all are finite.
"""

import math
from typing import Any, Final

import numpy as np

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import inlined, native
from kernels.jit.native import load, store
from kernels.jit.rearrange import first_lane
from kernels.jit.vector import (
    LANES,
    f32x16,
    fma,
    load_f32x16,
    max_lanes,
    maximum,
    minimum,
    store_f32x16,
    sum_lanes,
)

CHUNK: Final = 4096
GROUP: Final = 64
PARTIAL_BYTES: Final = 16
PLAIN: Final = np.int64(1)  # fields of a partial: sums at temperature 1 and at the row's
WARM: Final = np.int64(2)
LIMIT: Final = np.float32(1e30)


@inlined
def clean(logits: Any) -> Any:
    """NaN and what is below -1e30 as -1e30, what is above 1e30 as 1e30."""
    return minimum(maximum(logits, f32x16(-LIMIT)), f32x16(LIMIT))


@native
def exp_scalar(x: float) -> Any:
    """The same bits as a lane of exp_f32x16."""
    return first_lane(exp_f32x16(f32x16(x)))


@native
def reduce_chunk(logits: int, count: int, inverse_temperature: float, groups: int, partial: int) -> None:
    """`count` logits, a multiple of GROUP; `groups`: their f32 maxima; inverse_temperature 1 saves a sum, 0 both."""
    greatest, zeros = f32x16(-LIMIT), f32x16(np.float32(0))
    spoilt = zeros
    for group in range(count // GROUP):
        address, top = logits + 4 * GROUP * group, f32x16(-LIMIT)
        for i in range(0, GROUP, LANES):
            raw = load_f32x16(address + 4 * i)
            spoilt = fma(raw, zeros, spoilt)
            top = maximum(clean(raw), top)
        store(groups + 4 * group, max_lanes(top), np.float32)
        greatest = maximum(top, greatest)
    most = max_lanes(greatest)
    total = warm = np.float32(0)
    if inverse_temperature != np.float32(0):
        total = _weight(logits, count, most, np.float32(1))
        warm = total
        if inverse_temperature != np.float32(1):
            warm = _weight(logits, count, most, inverse_temperature)
    store(partial, most, np.float32)
    store(partial + 4, total, np.float32)
    store(partial + 8, warm, np.float32)
    store(partial + 12, np.float32(not math.isnan(sum_lanes(spoilt))), np.float32)


@native
def _weight(logits: int, count: int, most: Any, scale: Any) -> Any:
    """Sum of e^((l - most) * scale)."""
    offset, scales = f32x16(most), f32x16(scale)
    even = odd = f32x16(np.float32(0))
    for i in range(0, count, 2 * LANES):
        address = logits + 4 * i
        even = even + exp_f32x16((clean(load_f32x16(address)) - offset) * scales)
        odd = odd + exp_f32x16((clean(load_f32x16(address + 4 * LANES)) - offset) * scales)
    return sum_lanes(even + odd)


@native
def copy_padded(logits: int, count: int, target: int) -> int:
    """Copy `count` logits and fill up to a multiple of GROUP with what weighs nothing. Returns that multiple."""
    whole, padded = count - count % LANES, (count + GROUP - 1) // GROUP * GROUP
    for i in range(0, whole, LANES):
        store_f32x16(target + 4 * i, load_f32x16(logits + 4 * i))
    for i in range(whole, count):
        store(target + 4 * i, load(logits + 4 * i, np.float32), np.float32)
    for i in range(count, padded):
        store(target + 4 * i, -LIMIT, np.float32)
    return padded


@native
def greatest_logit(partials: int, num_chunks: int) -> Any:
    """Over a row's partials."""
    most: Any = -LIMIT
    for chunk in range(num_chunks):
        most = max(most, load(partials + PARTIAL_BYTES * chunk, np.float32))
    return most


@native
def total_weight(partials: int, num_chunks: int, most: float, inverse_temperature: float, field: Any) -> float:
    """f64 sum over the row of e^((l - most) / temperature), from the partials' field PLAIN or WARM."""
    total = 0.0
    for chunk in range(num_chunks):
        total += chunk_weight(partials + PARTIAL_BYTES * chunk, most, inverse_temperature, field)
    return total


@native
def chunk_weight(partial: int, most: float, inverse_temperature: float, field: Any) -> Any:
    """One chunk's part of `total_weight`."""
    share = exp_scalar((load(partial, np.float32) - most) * inverse_temperature)
    return np.float64(share) * np.float64(load(partial + 4 * field, np.float32))
