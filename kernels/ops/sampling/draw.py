"""One uniform number per (seed, position), and the token it stands for. Native.

The generator is splitmix64's finaliser (Steele, Lea, Flood 2014) over seed and position: a function, not a state.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import inlined, native
from kernels.jit.native import load, store
from kernels.jit.vector import LANES, f32x16, load_f32x16, store_f32x16, sum_lanes
from kernels.ops.sampling.partials import CHUNK, PARTIAL_BYTES, WARM, chunk_weight, clean

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_S11: Final = np.uint64(11)
_S27: Final = np.uint64(27)
_S30: Final = np.uint64(30)
_S31: Final = np.uint64(31)


@inlined
def _mix(value: Any) -> Any:
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


@native
def uniform(seed: int, position: int) -> Any:
    """In [0, 1), a multiple of 2^-53."""
    state = _mix(np.uint64(seed) + GOLDEN)
    state = _mix((state ^ np.uint64(position)) + GOLDEN)
    return np.float64(state >> _S11) * 2.0**-53


@native
def draw_candidate(indices: int, weights: int, count: int, number: float) -> Any:
    """The token at `draw_place`."""
    return np.int64(load(indices + 4 * draw_place(weights, count, number), np.int32))


@native
def draw_place(weights: int, count: int, number: float) -> int:
    """Where the running sum of weights passes `number` of their sum; some weight must be above 0."""
    total = 0.0
    for i in range(count):
        total += np.float64(load(weights + 4 * i, np.float32))
    target, running, last = number * total, 0.0, 0
    for i in range(count):
        weight = np.float64(load(weights + 4 * i, np.float32))
        running += weight
        if weight > 0.0:
            last = i
            if running > target:
                break
    return last


@native
def draw_any(
    logits: int, vocab: int, partials: int, most: float, inverse_temperature: float, number: float, lanes: int
) -> Any:
    """As draw_candidate over the whole row: first the chunk, then the token. lanes: room for a vector, then for an f64
    of each chunk.

    Where rounding lets the running sum miss the target, the last token that weighs anything is taken: a token of weight
    0, banned perhaps, never is.
    """
    num_chunks = (vocab + CHUNK - 1) // CHUNK
    weights, total = lanes + 4 * LANES, 0.0
    for chunk in range(num_chunks):
        weight = chunk_weight(partials + PARTIAL_BYTES * chunk, most, inverse_temperature, WARM)
        store(weights + 8 * chunk, weight, np.float64)
        total += weight
    target = number * total
    chosen, before = choose_chunk(weights, num_chunks, target)
    return _draw_in_chunk(logits, CHUNK * chosen, vocab, most, inverse_temperature, target - before, lanes)


@native
def choose_chunk(weights: int, num_chunks: int, target: float) -> Any:
    """(the chunk in which the running sum of f64 weights passes `target`, or the last that weighs anything; the sum of
    those before it)"""
    running, before, chosen = 0.0, 0.0, 0
    for chunk in range(num_chunks):
        weight = load(weights + 8 * chunk, np.float64)
        if weight > 0.0:
            chosen, before = chunk, running
            if running + weight > target:
                break
        running += weight
    return chosen, before


@native
def _draw_in_chunk(
    logits: int, first: int, vocab: int, most: float, inverse_temperature: float, target: float, lanes: int
) -> Any:
    """`target`: what the weights up to the token must pass. Vectors are stepped over while they stay below it."""
    end, running = min(first + CHUNK, vocab), 0.0
    last, passed = first - 1, first - 1  # last token that weighs anything; start of the last vector stepped over
    offset, scale = f32x16(most), f32x16(inverse_temperature)
    for start in range(first, end, LANES):
        weights = exp_f32x16((clean(load_f32x16(logits + 4 * start)) - offset) * scale)
        total = np.float64(sum_lanes(weights))
        if total == 0.0:
            continue
        if start + LANES <= end and running + total <= target:
            running += total
            passed = start
            continue
        store_f32x16(lanes, weights)
        for i in range(min(LANES, end - start)):
            weight = np.float64(load(lanes + 4 * i, np.float32))
            running += weight
            if weight > 0.0:
                last = start + i
                if running > target:
                    return last
    if passed > last:
        store_f32x16(lanes, exp_f32x16((clean(load_f32x16(logits + 4 * passed)) - offset) * scale))
        for i in range(LANES):
            if load(lanes + 4 * i, np.float32) > np.float32(0):
                last = passed + i
    return max(last, first)
