"""How many tokens to guess for a sequence, by what became of those before. Knows no drafter and no step."""

from __future__ import annotations

FIRST_DRAFTS = 4
REST_STEPS = 8
"""Steps without a guess after one that failed from its first token on, when few have been made at a time already."""


class DraftLength:
    """Of one sequence, whoever guesses: a wrong guess costs a row of a step, so few follow where few were right."""

    def __init__(self, most: int) -> None:
        """`most`: tokens in one guess."""
        self._most = most
        self._num_drafts = min(FIRST_DRAFTS, most)
        self._rest = 0

    def next(self) -> int:
        """Tokens to guess in this step; 0: it rests."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._num_drafts

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
