"""Top-p over a whole row (Holtzman et al. 2019): a histogram finds the last logit that is kept, and the draw goes over
the row again, so that a flat distribution, of which most of the vocabulary is kept, needs no list of it. Native.

What is kept: every logit above the cut, and of those equal to it the first `ties`, in order of ids.
"""

import math
from typing import Any, Final

import numpy as np

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import inlined, native
from kernels.jit.native import count_trailing_zeros, load, store
from kernels.jit.vector import (
    LANES,
    above,
    at_least,
    f32x16,
    load_f32x16,
    mask_bits,
    maximum,
    select,
    store_f32x16,
    sum_lanes,
)
from kernels.ops.sampling.draw import choose_chunk
from kernels.ops.sampling.partials import CHUNK, GROUP, WARM, clean, exp_scalar, total_weight
from kernels.ops.sampling.select import NUM_ARRAYS, NUM_BINS, clean_scalar, cut, ordered_key

_ROUND: Final = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer, in the low bits
_FIRST_BIN: Final = np.int64(0x4B400000 - LANES)  # its bits, less a bin for each lane, of what is below the bound
_TOP: Final = NUM_BINS - LANES - 1  # place of the greatest logit


@native
def mass_bound(total: float, top_p: float, vocab: int, most: float, temperature: float) -> Any:
    """A logit (f64) below which nothing is kept; total: sum of e^((l - most) / temperature) over the row."""
    # What weighs less than an equal share of the mass left out is outside; 0.01 is for rounding.
    left_out = min(1.0, max(1e-9, 1.0 - np.float64(top_p)))
    return most + temperature * (math.log(left_out * total / vocab) - 0.01) - 1e-6 * abs(most)


@native
def draw_nucleus(
    op: Any,
    logits: int,
    partials: int,
    groups: int,
    most: float,
    temperature: float,
    inverse: float,
    top_p: float,
    number: float,
    scratch: int,
) -> int:
    """The token that `number` of the kept mass stands for. inverse: 1 / temperature, as in the partials' sums."""
    total = total_weight(partials, op.num_chunks, most, inverse, WARM)
    bound: Any = np.float32(mass_bound(total, top_p, op.vocab, most, temperature))
    last, ties = _cut_of(op, logits, groups, most, inverse, bound, np.float64(top_p) * total, scratch)
    return _draw_kept(op, logits, groups, most, inverse, last, ties, number, scratch)


@inlined
def _places(x: Any, bounds: Any, scales: Any, least: Any) -> Any:
    """Of clean logits, plus _ROUND: from 0 to _TOP, rising with them; `least` below the bound."""
    return maximum((x - bounds) * scales, least) + f32x16(_ROUND)


@inlined
def _count(bins: int, lane: int) -> None:
    at = bins + 8 * (np.int64(load(lane, np.int32)) - _FIRST_BIN)
    store(at, load(at, np.float64) + np.float64(load(lane + 4 * LANES, np.float32)), np.float64)


@native
def _cut_of(
    op: Any, logits: int, groups: int, most: float, inverse: float, bound: float, target: float, scratch: int
) -> Any:
    """(the least logit of the shortest prefix, by falling logit, whose weights reach `target`; how many equal to it)"""
    size = op.array_bytes
    keys, weights, lanes, bins = scratch, scratch + size, scratch + 2 * size, scratch + NUM_ARRAYS * size
    scale: Any = np.float32(0)
    if most > bound:
        scale = np.float32(_TOP) / np.float32(most - bound)
    offset, inverses, bounds, scales = f32x16(most), f32x16(inverse), f32x16(bound), f32x16(scale)
    for i in range(NUM_BINS):
        store(bins + 8 * i, 0.0, np.float64)
    for i in range(LANES):
        store(lanes + 4 * i, np.float32(-1 - i), np.float32)
    outside = load_f32x16(lanes)  # in a bin of each lane's own, for additions to one bin wait for each other
    for group in range(op.num_groups):
        if load(groups + 4 * group, np.float32) < bound:
            continue
        for first in range(GROUP * group, min(GROUP * (group + 1), op.vocab), LANES):
            x = clean(load_f32x16(logits + 4 * first))
            if mask_bits(at_least(x, bounds)) == 0:
                continue
            store_f32x16(lanes, _places(x, bounds, scales, outside))
            store_f32x16(lanes + 4 * LANES, exp_f32x16((x - offset) * inverses))
            if first + LANES <= op.vocab:
                for i in range(LANES):
                    _count(bins, lanes + 4 * i)
            else:
                for i in range(op.vocab - first):
                    _count(bins, lanes + 4 * i)

    reached, before, chosen = 0.0, 0.0, _TOP
    for place in range(_TOP, -1, -1):
        weight = load(bins + 8 * (LANES + place), np.float64)
        if weight > 0.0:
            chosen, before = place, reached
            reached += weight
            if reached >= target:
                break
    count, wanted = 0, f32x16(np.float32(chosen) + _ROUND)
    for group in range(op.num_groups):
        if load(groups + 4 * group, np.float32) < bound:
            continue
        for first in range(GROUP * group, min(GROUP * (group + 1), op.vocab), LANES):
            x = clean(load_f32x16(logits + 4 * first))
            places = _places(x, bounds, scales, outside)
            bits = mask_bits(at_least(places, wanted)) & mask_bits(at_least(wanted, places))
            if bits == 0:
                continue
            store_f32x16(lanes, exp_f32x16((x - offset) * inverses))
            while bits != 0:
                lane = count_trailing_zeros(bits)
                bits &= bits - 1
                if first + lane >= op.vocab:
                    break
                store(
                    keys + 4 * count, ordered_key(clean_scalar(load(logits + 4 * (first + lane), np.float32))), np.int32
                )
                store(weights + 4 * count, load(lanes + 4 * lane, np.float32), np.float32)
                count += 1
    key, ties = cut(keys, weights, count, target - before, bins)
    store(lanes, np.int32(key ^ ((key >> 31) & 0x7FFFFFFF)), np.int32)
    return load(lanes, np.float32), ties


@native
def _draw_kept(
    op: Any, logits: int, groups: int, most: float, inverse: float, last: float, ties: int, number: float, scratch: int
) -> int:
    """First the chunk, then the token."""
    size, group_chunk = op.array_bytes, CHUNK // GROUP
    sums, left, lanes = scratch, scratch + size, scratch + 2 * size
    total = 0.0
    for chunk in range(op.num_chunks):
        store(left + 8 * chunk, ties, np.int64)
        weight = 0.0
        for group in range(group_chunk * chunk, min(group_chunk * (chunk + 1), op.num_groups)):
            if load(groups + 4 * group, np.float32) >= last:
                weight_of_group, ties = _kept_weight(op, logits, group, most, inverse, last, ties, lanes)
                weight += weight_of_group
        store(sums + 8 * chunk, weight, np.float64)
        total += weight
    target = number * total
    chosen, running = choose_chunk(sums, op.num_chunks, target)
    ties, token = load(left + 8 * chosen, np.int64), 0
    for group in range(group_chunk * chosen, min(group_chunk * (chosen + 1), op.num_groups)):
        if load(groups + 4 * group, np.float32) < last:
            continue
        for first in range(GROUP * group, min(GROUP * (group + 1), op.vocab), LANES):
            ties = _kept_lanes(op, logits, first, most, inverse, last, ties, lanes)
            for i in range(LANES):
                weight = np.float64(load(lanes + 4 * i, np.float32))
                running += weight
                if weight > 0.0:
                    token = first + i
                    if running > target:
                        return token
    return token  # where rounding lets the running sum miss the target


@native
def _kept_weight(
    op: Any, logits: int, group: int, most: float, inverse: float, last: float, ties: int, lanes: int
) -> Any:
    """(sum over a group of the weights of what is kept, ties left)"""
    weight = 0.0
    offset, inverses, least, zeros = f32x16(most), f32x16(inverse), f32x16(last), f32x16(np.float32(0))
    for first in range(GROUP * group, min(GROUP * (group + 1), op.vocab), LANES):
        x = clean(load_f32x16(logits + 4 * first))
        greater = above(x, least)
        if first + LANES > op.vocab or mask_bits(at_least(x, least)) != mask_bits(greater):
            ties = _kept_lanes(op, logits, first, most, inverse, last, ties, lanes)
            weight += np.float64(sum_lanes(load_f32x16(lanes)))
        else:
            weight += np.float64(sum_lanes(select(greater, exp_f32x16((x - offset) * inverses), zeros)))
    return weight, ties


@native
def _kept_lanes(
    op: Any, logits: int, first: int, most: float, inverse: float, last: float, ties: int, lanes: int
) -> int:
    """Weights of 16 tokens, 0 for what is not kept, to `lanes`; returns the ties left."""
    x = clean(load_f32x16(logits + 4 * first))
    weights = exp_f32x16((x - f32x16(most)) * f32x16(inverse))
    store_f32x16(lanes, select(above(x, f32x16(last)), weights, f32x16(np.float32(0))))
    equal = mask_bits(at_least(x, f32x16(last))) & ~mask_bits(above(x, f32x16(last)))
    for i in range(LANES):
        if first + i >= op.vocab:
            store(lanes + 4 * i, np.float32(0), np.float32)
        elif ties > 0 and (equal >> i) & 1 != 0:
            store(lanes + 4 * i, exp_scalar((last - most) * inverse), np.float32)
            ties -= 1
    return ties
