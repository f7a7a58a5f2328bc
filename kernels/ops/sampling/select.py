"""The first tokens in order (logit falling, id rising), without sorting: candidates above a bound, a radix cut. Native.

Candidates are three arrays in order of ids: i32 index, f32 logit, f32 weight. A cut is a key (an i32 with the order of
the floats) and how many of the candidates with exactly this key are kept.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import inlined, native
from kernels.jit.native import count_leading_zeros, count_trailing_zeros, float_bits, load, store
from kernels.jit.vector import LANES, at_least, f32x16, load_f32x16, mask_bits, store_f32x16
from kernels.ops.sampling.partials import GROUP, LIMIT, clean

NO_WEIGHTS: Final = np.int64(0)
NUM_ARRAYS: Final = 6
"""Of a row's scratch, each as long as the padded vocabulary; behind them are bins."""
NUM_BINS: Final = 512
BIN_BITS: Final = 9


@inlined
def clean_scalar(logit: Any) -> Any:
    """As `clean`."""
    above = logit if logit > -LIMIT else -LIMIT
    return above if above < LIMIT else LIMIT


@inlined
def ordered_key(value: float) -> Any:
    """An i32 with the order of the floats; -0 is taken as 0."""
    bits = float_bits(value + np.float32(0))
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


@native
def cut(keys: int, weights: Any, count: int, target: float, bins: int) -> Any:
    """(key, kept): the shortest prefix, by falling key, whose weights reach `target`; all of them if they never do.

    keys i32[count] (count >= 1) and weights f32[count] are consumed; NO_WEIGHTS: each weighs 1. bins: f64[NUM_BINS].
    Elements of equal key are taken in the order of the arrays.
    """
    above = 0.0
    while True:
        least, most = np.int64(2**31), np.int64(-(2**31))
        for i in range(count):
            key = np.int64(load(keys + 4 * i, np.int32))
            least, most = min(least, key), max(most, key)
        if least == most:
            break
        shift = max(0, 64 - count_leading_zeros(most - least) - BIN_BITS)
        for i in range(NUM_BINS):
            store(bins + 8 * i, 0.0, np.float64)
        for i in range(count):
            index = (np.int64(load(keys + 4 * i, np.int32)) - least) >> shift
            weight = 1.0 if weights == NO_WEIGHTS else np.float64(load(weights + 4 * i, np.float32))
            store(bins + 8 * index, load(bins + 8 * index, np.float64) + weight, np.float64)
        index = (most - least) >> shift
        # Below the last bin that holds anything the sum cannot grow: stop at the least one at the latest.
        while index > 0 and above + load(bins + 8 * index, np.float64) < target:
            above += load(bins + 8 * index, np.float64)
            index -= 1
        kept = 0
        for i in range(count):
            key = np.int64(load(keys + 4 * i, np.int32))
            if (key - least) >> shift == index:
                store(keys + 4 * kept, np.int32(key), np.int32)
                if weights != NO_WEIGHTS:
                    store(weights + 4 * kept, load(weights + 4 * i, np.float32), np.float32)
                kept += 1
        count = kept
    for kept in range(count):
        above += 1.0 if weights == NO_WEIGHTS else np.float64(load(weights + 4 * kept, np.float32))
        if above >= target:
            return least, kept + 1
    return least, count


@native
def greatest_group_bound(groups: int, num_groups: int, rank: int, keys: int, bins: int) -> Any:
    """A logit (f32) that at least `rank` logits reach: the rank-th greatest of the groups' maxima, or the least."""
    if rank >= num_groups:
        return -LIMIT
    for group in range(num_groups):
        store(keys + 4 * group, ordered_key(load(groups + 4 * group, np.float32)), np.int32)
    key, _ = cut(keys, NO_WEIGHTS, num_groups, np.float64(rank), bins)
    bound = LIMIT
    for group in range(num_groups):
        value = load(groups + 4 * group, np.float32)
        if np.int64(ordered_key(value)) >= key:
            bound = min(bound, value)
    return bound


@native
def collect(logits: int, vocab: int, groups: int, bound: float, indices: int, values: int) -> int:
    """Candidates: every token whose clean logit reaches `bound`, in order of ids. Returns how many."""
    count, bounds = 0, f32x16(bound)
    for group in range((vocab + GROUP - 1) // GROUP):
        if load(groups + 4 * group, np.float32) < bound:
            continue
        for first in range(GROUP * group, min(GROUP * (group + 1), vocab), LANES):
            bits = mask_bits(at_least(clean(load_f32x16(logits + 4 * first)), bounds))
            while bits != 0:
                index = first + count_trailing_zeros(bits)
                bits &= bits - 1
                if index >= vocab:
                    break
                store(indices + 4 * count, np.int32(index), np.int32)
                store(values + 4 * count, clean_scalar(load(logits + 4 * index, np.float32)), np.float32)
                count += 1
    return count


@native
def weigh(values: int, count: int, most: float, inverse_temperature: float, weights: int) -> None:
    """weights = e^((l - most) / temperature); both arrays are padded to whole vectors."""
    offset, scale = f32x16(most), f32x16(inverse_temperature)
    for i in range(0, count, LANES):
        store_f32x16(weights + 4 * i, exp_f32x16((load_f32x16(values + 4 * i) - offset) * scale))


@native
def keep(indices: int, values: int, weights: int, count: int, key: int, ties: int) -> int:
    """Reduce the candidates to the cut (key, ties), in place and in order. Returns how many are left."""
    kept = 0
    for i in range(count):
        value = load(values + 4 * i, np.float32)
        own = np.int64(ordered_key(value))
        if own > key or (own == key and ties > 0):
            if own == key:
                ties -= 1
            store(indices + 4 * kept, load(indices + 4 * i, np.int32), np.int32)
            store(values + 4 * kept, value, np.float32)
            store(weights + 4 * kept, load(weights + 4 * i, np.float32), np.float32)
            kept += 1
    return kept
