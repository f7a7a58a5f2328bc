"""The seam between verifying guesses and making them: whoever can guess the next tokens. Knows no drafter by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.engine.sequence import Sequence


class Drafter(Protocol):
    """Whatever it guesses changes no token: a guess counts as far as the model itself would have said the same."""

    def guess(self, wanted: Mapping[Sequence, int]) -> Mapping[Sequence, tuple[int, ...]]:
        """For sequences that decode, at most so many (1 or more) tokens that may follow; none where there is no guess.

        Called once a step, with all that ask in it. Never raises: who cannot guess does not.
        """
        ...

    def release(self, sequence: Sequence) -> None:
        """It ends, or gives its blocks back: nothing is kept of it. No effect if nothing was."""
        ...

    def check(self, running: Iterable[Sequence]) -> None:
        """Assert that the books balance, while these sequences run."""
        ...


@dataclass(frozen=True, slots=True)
class DraftStats:
    """Guessed tokens that were verified since the start, and those of them that came true."""

    num_guessed: int = 0
    num_right: int = 0


NO_DRAFTS = DraftStats()
