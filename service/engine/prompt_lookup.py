"""Guesses the next tokens of a sequence from its own text (prompt lookup, Saxena 2023). Knows no model and no step.

Where its last tokens have stood before, what followed them then may follow again: quotes, code, lists, tables. The
guesses are verified in one step, and a wrong one costs a row of it, so how many are made follows what became of those
before.
"""

from __future__ import annotations

from collections.abc import Sequence

NGRAM = 3
"""Tokens that must agree."""
FIRST_DRAFTS = 4
REST_STEPS = 8
"""Steps without a guess after one that failed from its first token on, when few have been made at a time already."""


class PromptLookup:
    """One sequence's index of its n-grams, brought up to date at each guess, and what became of its guesses."""

    def __init__(self, most: int) -> None:
        """`most`: tokens in one guess."""
        self._most = most
        self._ends: dict[tuple[int, ...], int] = {}
        """Of each n-gram's latest occurrence but the last tokens themselves."""
        self._num_indexed = 0
        self._num_drafts = min(FIRST_DRAFTS, most)
        self._rest = 0

    def guess(self, token_ids: Sequence[int], most: int) -> tuple[int, ...]:
        """At most `most` tokens that may follow; maybe none."""
        for end in range(max(self._num_indexed, NGRAM), len(token_ids)):
            self._ends[tuple(token_ids[end - NGRAM : end])] = end
        self._num_indexed = len(token_ids)
        if self._rest:
            self._rest -= 1
            return ()
        found = self._ends.get(tuple(token_ids[-NGRAM:]))
        if found is None:
            return ()
        # What reaches the end goes on from there: text that repeats itself has its period as the distance.
        period = len(token_ids) - found
        return tuple(token_ids[found + index % period] for index in range(min(most, self._num_drafts)))

    def learn(self, num_guessed: int, num_right: int) -> None:
        """What became of the latest guess: more at a time while all are right, fewer and seldom where none is."""
        if num_right == num_guessed:
            self._num_drafts = min(self._most, 2 * max(self._num_drafts, num_guessed))
        elif num_right == 0:
            if self._num_drafts == 1:
                self._rest = REST_STEPS
            self._num_drafts = max(1, self._num_drafts // 2)
        else:
            self._num_drafts = min(self._most, num_right + 1)
