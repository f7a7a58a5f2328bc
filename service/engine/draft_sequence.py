"""A sequence as the draft model sees it: what it has computed of it, and what it guesses to follow. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace

from service.engine.request import SampledToken
from service.engine.sequence import Sequence


class DraftSequence:
    """`own`: the same tokens with the draft model's blocks; between guesses wrong ones may still stand at its end."""

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        request = sequence.request
        sampling = replace(request.sampling, logprobs=None, prompt_logprobs=None)
        # The same filters, seed and positions: where both models agree on a distribution, they draw the same token.
        self.own = Sequence(
            replace(request, sampling=sampling),
            rank=sequence.rank,
            max_tokens=sequence.max_tokens,
            seed=sequence.seed,
            end_ids=sequence.end_ids,
        )
        self._num_known = 0
        """Tokens at its beginning that are the sequence's and no guesses."""
        self.most = 0
        """Tokens to guess in this step."""
        self.guess: list[int] = []
        """Those of this step so far."""

    @property
    def wants_more(self) -> bool:
        """Nothing is worth guessing behind an end."""
        return len(self.guess) < self.most and not (self.guess and self.guess[-1] in self.own.end_ids)

    def follow(self, token_ids: Seq[int]) -> None:
        """Take the sequence's tokens over: a guess that came true stays computed, what follows a wrong one does not."""
        own, num_common = self.own, self._num_known
        for guessed, token_id in zip(own.token_ids[num_common:], token_ids[num_common:], strict=False):
            if guessed != token_id:
                break
            num_common += 1
        own.num_computed = min(own.num_computed, num_common)
        own.token_ids[num_common:] = token_ids[num_common:]
        self._num_known = len(token_ids)
        self.guess = []

    def stop(self) -> None:
        """It fails: no guess, neither now nor from what it has."""
        self.most, self.guess = 0, []

    def take(self, token: SampledToken) -> None:
        self.own.token_ids.append(token.id)
        self.guess.append(token.id)
