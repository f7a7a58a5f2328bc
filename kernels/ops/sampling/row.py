"""One logit row: logprobs, edits, filters, draw. Native; `op` is the record of kernels.ops.sampling.op.

Scratch is NUM_ARRAYS arrays over the padded vocabulary, then bins; the last array is the edited row.
"""

import math
from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, record, store
from kernels.ops.sampling.draw import draw_any, draw_candidate, uniform
from kernels.ops.sampling.edit import edit_row, has_edits
from kernels.ops.sampling.mirostat import draw_by_surprise
from kernels.ops.sampling.nucleus import draw_nucleus, mass_bound
from kernels.ops.sampling.partials import (
    CHUNK,
    GROUP,
    LIMIT,
    PARTIAL_BYTES,
    PLAIN,
    WARM,
    greatest_logit,
    reduce_chunk,
    total_weight,
)
from kernels.ops.sampling.select import (
    NO_WEIGHTS,
    NUM_ARRAYS,
    clean_scalar,
    collect,
    cut,
    greatest_group_bound,
    keep,
    ordered_key,
    weigh,
)
from kernels.ops.sampling.top_choices import STREAM, exclude_top_choices, excludes
from kernels.ops.sampling.typical import keep_typical
from kernels.runtime.abi import MAX_TOP_LOGPROBS, NOTHING_LEFT, SAMPLED, SAMPLING

LEAST_TEMPERATURE: Final = np.float32(1e-5)
SAMPLING_BYTES: Final = SAMPLING.itemsize
SAMPLED_BYTES: Final = SAMPLED.itemsize


@native
def _inverse_temperature(temperature: float) -> Any:
    """f32; 1 for greedy rows, which need no second sum."""
    if temperature >= LEAST_TEMPERATURE:
        return np.float32(1) / np.float32(temperature)
    return np.float32(1)


@inlined
def _by_rank(sampling: Any, vocab: int) -> Any:
    return sampling.top_k > 0 and sampling.top_k < vocab


@inlined
def _by_type(sampling: Any) -> Any:
    return sampling.typical_p > np.float32(0) and sampling.typical_p < np.float32(1)


@inlined
def _is_filtered(sampling: Any, vocab: int) -> Any:
    by_share = sampling.min_p > np.float32(0) or sampling.top_p < np.float32(1)
    return by_share or _by_rank(sampling, vocab) or _by_type(sampling) or excludes(sampling)


@native
def partials_inverse_temperature(sampling: Any, vocab: int) -> Any:
    """As `_inverse_temperature`; 1 also where the filters need no sum over the whole row."""
    if sampling.is_mirostat == 0 and (_by_rank(sampling, vocab) or sampling.min_p > np.float32(0)):
        return np.float32(1)
    return _inverse_temperature(sampling.temperature)


@native
def _reduce_row(op: Any, sampling: Any, logits: int, partials: int, groups: int) -> None:
    """Partials and groups of a padded row, anew; the greatest logit needs no sums."""
    inverse: Any = np.float32(0)
    if sampling.temperature >= LEAST_TEMPERATURE:
        inverse = partials_inverse_temperature(sampling, op.vocab)
    for chunk in range(op.num_chunks):
        first = CHUNK * chunk
        count: Any = min(CHUNK, op.array_bytes // 4 - first)
        partial = partials + PARTIAL_BYTES * chunk
        reduce_chunk(logits + 4 * first, count, inverse, groups + 4 * (first // GROUP), partial)


@native
def _argmax(op: Any, logits: int, groups: int, most: float) -> int:
    """The lowest id with the greatest logit."""
    for group in range(op.num_groups):
        if load(groups + 4 * group, np.float32) == most:
            for token in range(GROUP * group, min(GROUP * (group + 1), op.vocab)):
                if clean_scalar(load(logits + 4 * token, np.float32)) == most:
                    return token
    return 0


@native
def _top_logprobs(op: Any, sampled: Any, logits: int, groups: int, wanted: int, log_total: float, scratch: int) -> None:
    """The `wanted` greatest logits, sorted by insertion; ties by lowest id."""
    size = op.array_bytes
    indices, values, weights, keys = scratch, scratch + size, scratch + 2 * size, scratch + 3 * size
    bins = scratch + NUM_ARRAYS * size
    bound = greatest_group_bound(groups, op.num_groups, wanted, keys, bins)
    count = collect(logits, op.vocab, groups, bound, indices, values)
    if count > wanted:
        for i in range(count):
            store(keys + 4 * i, ordered_key(load(values + 4 * i, np.float32)), np.int32)
        key, ties = cut(keys, NO_WEIGHTS, count, np.float64(wanted), bins)
        count = keep(indices, values, weights, count, key, ties)
    for i in range(count):
        index, value = load(indices + 4 * i, np.int32), load(values + 4 * i, np.float32)
        place = i
        while place > 0 and load(values + 4 * (place - 1), np.float32) < value:
            store(values + 4 * place, load(values + 4 * (place - 1), np.float32), np.float32)
            store(indices + 4 * place, load(indices + 4 * (place - 1), np.int32), np.int32)
            place -= 1
        store(values + 4 * place, value, np.float32)
        store(indices + 4 * place, index, np.int32)
    for i in range(count):
        sampled.top_ids[i] = load(indices + 4 * i, np.int32)
        sampled.top_logprobs[i] = np.float32(np.float64(load(values + 4 * i, np.float32)) - log_total)
    sampled.num_top = count


@inlined
def _rounded(value: float) -> Any:
    """As f32."""
    return np.float32(value)


@native
def _filtered_token(
    op: Any, sampling: Any, logits: int, partials: int, groups: int, most: float, scratch: int, number: float
) -> Any:
    """Draw after min_p, top_k, typical_p, top_p and XTC."""
    size = op.array_bytes
    indices, values, weights = scratch, scratch + size, scratch + 2 * size
    keys, spent, bins = scratch + 3 * size, scratch + 4 * size, scratch + NUM_ARRAYS * size
    temperature = np.float64(sampling.temperature)
    inverse = _inverse_temperature(sampling.temperature)
    top_k: Any = np.int64(sampling.top_k)
    by_rank, by_mass = _by_rank(sampling, op.vocab), sampling.top_p < np.float32(1)
    by_type = _by_type(sampling)

    bound = np.float64(-2e30)
    if sampling.min_p > np.float32(0):
        share = min(1.0, np.float64(sampling.min_p))
        bound = np.float64(np.float32(most + temperature * math.log(share)))
    if by_rank:
        bound = max(bound, np.float64(greatest_group_bound(groups, op.num_groups, top_k, keys, bins)))
    total = -1.0
    if by_mass and not by_rank and not by_type and not sampling.min_p > np.float32(0):
        if not excludes(sampling):
            return draw_nucleus(
                op, logits, partials, groups, most, temperature, inverse, sampling.top_p, number, scratch
            )
        total = total_weight(partials, op.num_chunks, most, inverse, WARM)
        bound = mass_bound(total, sampling.top_p, op.vocab, most, temperature)
    count = collect(logits, op.vocab, groups, _rounded(bound), indices, values)
    if count == 0:
        return _argmax(op, logits, groups, most)
    weigh(values, count, most, inverse, weights)

    if by_rank and count > top_k:
        for i in range(count):
            store(keys + 4 * i, ordered_key(load(values + 4 * i, np.float32)), np.int32)
        key, ties = cut(keys, NO_WEIGHTS, count, np.float64(top_k), bins)
        count = keep(indices, values, weights, count, key, ties)
    if by_type:
        count = keep_typical(indices, values, weights, count, most, inverse, sampling.typical_p, keys, spent, bins)
    if by_mass:
        if total < 0.0:
            total = 0.0
            for i in range(count):
                total += np.float64(load(weights + 4 * i, np.float32))
        for i in range(count):
            store(keys + 4 * i, ordered_key(load(values + 4 * i, np.float32)), np.int32)
            store(spent + 4 * i, load(weights + 4 * i, np.float32), np.float32)
        key, ties = cut(keys, spent, count, np.float64(sampling.top_p) * total, bins)
        count = keep(indices, values, weights, count, key, ties)
    if excludes(sampling) and uniform(sampling.seed ^ STREAM, sampling.position) < np.float64(sampling.xtc_probability):
        count = exclude_top_choices(indices, values, weights, count, sampling.xtc_threshold)
    return draw_candidate(indices, weights, count, number)


@native
def sample_row(op: Any, step: Any, row: int, scratch: int) -> None:
    sampling = record(step.sampling + SAMPLING_BYTES * row, SAMPLING)
    sampled = record(step.sampled + SAMPLED_BYTES * row, SAMPLED)
    source = op.logits + op.stride * row
    partials = op.partials + PARTIAL_BYTES * op.num_chunks * row
    groups = op.groups + 4 * op.num_groups * row

    most = greatest_logit(partials, op.num_chunks)
    log_total = most + math.log(total_weight(partials, op.num_chunks, most, _rounded(1.0), PLAIN))
    finite = 1
    for chunk in range(op.num_chunks):
        if load(partials + PARTIAL_BYTES * chunk + 12, np.float32) == np.float32(0):
            finite = 0
    sampled.finite = finite
    wanted: Any = max(0, min(np.int64(sampling.num_top), MAX_TOP_LOGPROBS, op.vocab))
    sampled.num_top = wanted
    if wanted > 0:
        _top_logprobs(op, sampled, source, groups, wanted, log_total, scratch)

    logits: Any = source
    if has_edits(sampling):
        logits = scratch + (NUM_ARRAYS - 1) * op.array_bytes
        edit_row(sampling, source, op.vocab, logits, scratch)
        _reduce_row(op, sampling, logits, partials, groups)
        most = greatest_logit(partials, op.num_chunks)
        if most <= -LIMIT and finite == 1:
            sampled.finite = NOTHING_LEFT
    if not sampling.temperature >= LEAST_TEMPERATURE:
        token: Any = _argmax(op, logits, groups, most)
    else:
        number = uniform(sampling.seed, sampling.position)
        if sampling.is_mirostat != 0:
            inverse = _inverse_temperature(sampling.temperature)
            token, sampled.surprise = draw_by_surprise(
                op, sampling, logits, partials, groups, most, inverse, number, scratch
            )
            if token < 0:
                token = _argmax(op, logits, groups, most)
        elif _is_filtered(sampling, op.vocab):
            token = _filtered_token(op, sampling, logits, partials, groups, most, scratch, number)
        else:
            inverse = _inverse_temperature(sampling.temperature)
            token = draw_any(logits, op.vocab, partials, most, inverse, number, scratch)
    sampled.token = token
    logit = clean_scalar(load(source + 4 * token, np.float32))
    sampled.logprob = np.float32(np.float64(logit) - log_total)
