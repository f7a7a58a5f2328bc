"""Guesses the next tokens of a sequence from its own text (prompt lookup, Saxena 2023). Knows no model and no step.

Where its last tokens have stood before, what followed them then may follow again: quotes, code, lists, tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from service.engine.sequence import Sequence as TokenSequence

NGRAM = 3
"""Tokens that must agree."""


class PromptLookup:
    """One sequence's index of its n-grams, brought up to date at each guess."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        """Of each n-gram's latest occurrence but the last tokens themselves."""
        self._num_indexed = 0

    def guess(self, token_ids: Sequence[int], most: int) -> tuple[int, ...]:
        """At most `most` tokens that may follow; maybe none."""
        for end in range(max(self._num_indexed, NGRAM), len(token_ids)):
            self._ends[tuple(token_ids[end - NGRAM : end])] = end
        self._num_indexed = len(token_ids)
        found = self._ends.get(tuple(token_ids[-NGRAM:]))
        if found is None:
            return ()
        # What reaches the end goes on from there: text that repeats itself has its period as the distance.
        period = len(token_ids) - found
        return tuple(token_ids[found + index % period] for index in range(most))


class LookupDrafter:
    """A Drafter: an index for each sequence that asks."""

    def __init__(self) -> None:
        self._lookups: dict[TokenSequence, PromptLookup] = {}

    def guess(self, wanted: Mapping[TokenSequence, int]) -> dict[TokenSequence, tuple[int, ...]]:
        guesses = {}
        for sequence, most in wanted.items():
            lookup = self._lookups.setdefault(sequence, PromptLookup())
            guesses[sequence] = lookup.guess(sequence.token_ids, most)
        return guesses

    def release(self, sequence: TokenSequence) -> None:
        self._lookups.pop(sequence, None)

    def check(self, running: Iterable[TokenSequence]) -> None:
        assert self._lookups.keys() <= set(running), "an index is kept of a sequence that does not run"
