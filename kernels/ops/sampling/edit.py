"""Bias, penalties, DRY and mask: a copy of a logit row, edited. Native. Knows no probabilities."""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, store
from kernels.jit.vector import LANES, f32x16, load_f32x16, store_f32x16
from kernels.ops.sampling.partials import GROUP, copy_padded
from kernels.ops.sampling.repeats import punish_repeats
from kernels.ops.sampling.select import clean_scalar

WORD: Final = 32
"""Tokens in a word of the mask."""
BANNED: Final = np.float32(-np.inf)
ALL: Final = np.int64(0xFFFFFFFF)


@inlined
def has_edits(sampling: Any) -> Any:
    return sampling.num_bias > 0 or sampling.num_seen > 0 or sampling.num_history > 0 or sampling.mask != 0


@native
def edit_row(sampling: Any, logits: int, vocab: int, target: int, scratch: int) -> None:
    """target: f32[vocab padded to whole groups]; scratch: as much. Ids outside the vocabulary are passed over."""
    if sampling.num_bias == 0 and sampling.num_seen == 0 and sampling.num_history == 0:
        _copy_allowed(sampling.mask, logits, vocab, target)
        return
    copy_padded(logits, vocab, target)
    for i in range(sampling.num_bias):
        token = np.int64(load(sampling.bias_ids + 4 * i, np.int32))
        if token >= 0 and token < vocab:
            logit = clean_scalar(load(target + 4 * token, np.float32))
            store(target + 4 * token, logit + load(sampling.bias_values + 4 * i, np.float32), np.float32)
    _punish(sampling, vocab, target)
    if sampling.num_history > 0:
        punish_repeats(sampling, vocab, target, scratch)
    if sampling.mask != 0:
        _mask(sampling.mask, vocab, target)


@native
def _punish(sampling: Any, vocab: int, target: int) -> None:
    repetition = np.float32(sampling.repetition_penalty)
    for i in range(sampling.num_seen):
        token = np.int64(load(sampling.seen_ids + 4 * i, np.int32))
        if token < 0 or token >= vocab:
            continue
        count = load(sampling.seen_counts + 4 * i, np.int32)
        logit = clean_scalar(load(target + 4 * token, np.float32))
        logit = logit / repetition if logit > np.float32(0) else logit * repetition
        if count > 0:
            logit = logit - np.float32(sampling.presence_penalty)
            logit = logit - np.float32(count) * np.float32(sampling.frequency_penalty)
        store(target + 4 * token, logit, np.float32)


@native
def _copy_allowed(mask: int, logits: int, vocab: int, target: int) -> None:
    """As `copy_padded` and then `_mask`: what a word bans whole is not read."""
    banned = f32x16(BANNED)
    whole = vocab // WORD
    for index in range(whole):
        at = 4 * WORD * index
        word = np.int64(load(mask + 4 * index, np.uint32))
        if word == 0:
            store_f32x16(target + at, banned)
            store_f32x16(target + at + 4 * LANES, banned)
            continue
        store_f32x16(target + at, load_f32x16(logits + at))
        store_f32x16(target + at + 4 * LANES, load_f32x16(logits + at + 4 * LANES))
        if word != ALL:
            _ban(target + at, word, WORD)
    for token in range(WORD * whole, vocab):
        store(target + 4 * token, load(logits + 4 * token, np.float32), np.float32)
    if WORD * whole < vocab:
        _ban(target + 4 * WORD * whole, np.int64(load(mask + 4 * whole, np.uint32)), vocab - WORD * whole)
    for token in range(vocab, (vocab + GROUP - 1) // GROUP * GROUP):
        store(target + 4 * token, BANNED, np.float32)


@native
def _ban(target: int, word: Any, count: int) -> None:
    """Of `count` logits those whose bit is 0."""
    for bit in range(count):
        if word >> bit & 1 == 0:
            store(target + 4 * bit, BANNED, np.float32)


@native
def _mask(mask: int, vocab: int, target: int) -> None:
    """Masks of grammars are nearly all zeros or nearly all ones: whole words of either kind are taken at once."""
    banned = f32x16(BANNED)
    for first in range(0, vocab, WORD):
        word = np.int64(load(mask + first // WORD * 4, np.uint32))
        if word == ALL:
            continue
        end = min(first + WORD, vocab)
        if word == 0 and end == first + WORD:
            for token in range(first, end, LANES):
                store_f32x16(target + 4 * token, banned)
            continue
        _ban(target + 4 * first, word, end - first)
