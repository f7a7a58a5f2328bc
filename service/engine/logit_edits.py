"""What a request does to its logits before a token is drawn: bias, bans, penalties, DRY, masks. Knows no model.

The arrays that a SAMPLING record points to belong to the request and are brought up to date before each of its draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from service.engine.constraint import MASK_WORD_TOKENS, TokenConstraint, mask_words
from service.engine.history import History
from service.engine.request import SamplingParams


class LogitEdits:
    """One request's. `fill_mask` may be called beside a native forward, the rest between steps."""

    def __init__(
        self,
        sampling: SamplingParams,
        prompt_ids: Sequence[int],
        end_ids: frozenset[int],
        constraint: TokenConstraint | None,
        vocab_size: int,
    ) -> None:
        self._sampling = sampling
        self._num_prompt = len(prompt_ids)
        self._end_ids = sorted(end_ids)
        self._constraint = constraint
        self._seen = (
            _SeenTokens(prompt_ids if sampling.repetition_penalty != 1 else ()) if sampling.has_penalties else None
        )
        self._num_read = self._num_prompt
        self._history = None if sampling.dry is None else History(sampling.dry, prompt_ids)
        self._bias_ids, self._bias_values = _bias(sampling.logit_bias)
        self._allowed = None
        if sampling.allowed_token_ids is not None:
            self._allowed = _mask_of(sampling.allowed_token_ids, vocab_size)
        self._mask = self._allowed if constraint is None else np.zeros(mask_words(vocab_size), np.uint32)
        self._mask_address = 0 if self._mask is None else int(self._mask.ctypes.data)

    @staticmethod
    def are_needed(sampling: SamplingParams, constraint: TokenConstraint | None) -> bool:
        return constraint is not None or sampling.has_penalties or sampling.dry is not None or sampling.has_bans

    @property
    def has_constraint(self) -> bool:
        return self._constraint is not None

    def update(self, token_ids: list[int]) -> None:
        """token_ids: prompt and output so far; the next token is the one to be drawn."""
        if self._seen is not None:
            for token_id in token_ids[self._num_read :]:
                self._seen.count(token_id)
            self._num_read = len(token_ids)
        if self._history is not None:
            self._history.extend(token_ids[len(self._history) :])
        if self._sampling.bad_words or self._sampling.min_tokens:
            banned = {word[-1] for word in self._sampling.bad_words if self._is_begun(word, token_ids)}
            if len(token_ids) - self._num_prompt < self._sampling.min_tokens:
                banned.update(self._end_ids)
            bans = ((token_id, -math.inf) for token_id in sorted(banned))
            self._bias_ids, self._bias_values = _bias((*self._sampling.logit_bias, *bans))

    def fill_mask(self) -> None:
        """Ask the constraint. Raises what it raises; a mask that leaves no token is found when one is drawn."""
        assert self._constraint is not None
        assert self._mask is not None
        self._constraint.fill_mask(self._mask)
        if self._allowed is not None:
            self._mask &= self._allowed

    def write(self, record: npt.NDArray[np.void]) -> None:
        """Into a SAMPLING record, which then points into this object."""
        record["num_bias"] = len(self._bias_ids)
        if len(self._bias_ids):
            record["bias_ids"], record["bias_values"] = self._bias_ids.ctypes.data, self._bias_values.ctypes.data
        record["mask"] = self._mask_address
        record["num_history"] = record["num_seen"] = 0
        if self._history is not None:
            self._history.write(record)
        if self._seen is not None:
            record["num_seen"] = len(self._seen)
            record["seen_ids"], record["seen_counts"] = self._seen.ids.ctypes.data, self._seen.counts.ctypes.data
            for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
                record[name] = getattr(self._sampling, name)

    def _is_begun(self, word: tuple[int, ...], token_ids: list[int]) -> bool:
        """Whether the output ends with all of the word but its last token."""
        num_before = len(word) - 1
        if num_before > len(token_ids) - self._num_prompt:
            return False
        return num_before == 0 or tuple(token_ids[-num_before:]) == word[:-1]


class _SeenTokens:
    """Distinct tokens and how often each is in the output, as arrays that grow."""

    def __init__(self, prompt_ids: Iterable[int]) -> None:
        distinct = sorted(set(prompt_ids))
        self._places = {token_id: place for place, token_id in enumerate(distinct)}
        room = max(64, 2 * len(distinct))
        self.ids, self.counts = np.zeros(room, np.int32), np.zeros(room, np.int32)
        self.ids[: len(distinct)] = distinct

    def __len__(self) -> int:
        return len(self._places)

    def count(self, token_id: int) -> None:
        place = self._places.setdefault(token_id, len(self._places))
        if place == len(self.ids):
            self.ids, self.counts = (np.concatenate((array, np.zeros_like(array))) for array in (self.ids, self.counts))
        self.ids[place] = token_id
        self.counts[place] += 1


def _bias(pairs: Sequence[tuple[int, float]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    ids = np.array([token_id for token_id, _ in pairs], np.int32)
    return ids, np.array([bias for _, bias in pairs], np.float32)


def _mask_of(token_ids: Iterable[int], vocab_size: int) -> npt.NDArray[np.uint32]:
    """Ids beyond the vocabulary are passed over."""
    mask = np.zeros(mask_words(vocab_size), np.uint32)
    for token_id in token_ids:
        if 0 <= token_id < vocab_size:
            mask[token_id // MASK_WORD_TOKENS] |= np.uint32(1 << token_id % MASK_WORD_TOKENS)
    return mask
