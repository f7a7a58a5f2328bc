"""DRY (p-e-w 2024): tokens that would continue a repetition become the less likely the longer it is. Native.

A text whose last tokens stood there before, followed by token t, would repeat itself with t. For each such t, the
longest match of n tokens takes multiplier * base^(n - allowed_length) off its logit, if n >= allowed_length.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import native
from kernels.jit.native import load, store
from kernels.ops.sampling.select import clean_scalar

MOST_MATCHED: Final = 64
"""Tokens of a match that count: what repeats more than that is punished enough, and text of one token stays cheap."""


@native
def punish_repeats(sampling: Any, vocab: int, target: int, lengths: int) -> None:
    """target: f32[V] logits, edited. lengths: i32[V], scratch.

    The history is i32[num_history]; a negative number is a token that breaks sequences. Each is another number, so that
    no match reaches across it, and none is a token to punish.
    """
    last = sampling.num_history - 1
    for end in range(last):
        token = _repeated(sampling, end, last, vocab)
        if token >= 0:
            store(lengths + 4 * token, np.int32(0), np.int32)
    for end in range(last):
        token = _repeated(sampling, end, last, vocab)
        if token >= 0:
            length = _matched(sampling.history, end, last)
            if length > np.int64(load(lengths + 4 * token, np.int32)):
                store(lengths + 4 * token, np.int32(length), np.int32)
    for end in range(last):
        token = _repeated(sampling, end, last, vocab)
        if token >= 0:
            length = int(load(lengths + 4 * token, np.int32))
            store(lengths + 4 * token, np.int32(0), np.int32)  # once for each token
            if length > 0 and length >= sampling.dry_allowed_length:
                exponent = np.float64(length - sampling.dry_allowed_length)
                penalty = np.float64(sampling.dry_multiplier) * np.float64(sampling.dry_base) ** exponent
                logit = clean_scalar(load(target + 4 * token, np.float32))
                store(target + 4 * token, np.float32(np.float64(logit) - penalty), np.float32)


@native
def _repeated(sampling: Any, end: int, last: int, vocab: int) -> int:
    """The token that followed history[..end], if that ends as the history does; -1 if not."""
    if load(sampling.history + 4 * end, np.int32) != load(sampling.history + 4 * last, np.int32):
        return -1
    token = int(load(sampling.history + 4 * (end + 1), np.int32))
    return token if token < vocab else -1


@native
def _matched(history: int, end: int, last: int) -> int:
    """How many tokens before and at `end` are those before and at `last`; at most MOST_MATCHED."""
    length = 1
    while length < MOST_MATCHED and length <= end:
        if load(history + 4 * (end - length), np.int32) != load(history + 4 * (last - length), np.int32):
            break
        length += 1
    return length
