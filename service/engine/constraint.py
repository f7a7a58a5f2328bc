"""What structured output asks of the engine: a mask before each token, the token after it. Knows no grammar."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

MASK_WORD_TOKENS = 32


class TokenConstraint(Protocol):
    """The state of one request's output. Called by one thread at a time, off the event loop, in this order:

    fill_mask, accept, forced, fill_mask, accept, forced, ... with one more `accept` for each token that was forced. A
    mask is filled while the model computes the logits it is for. What it raises ends its own request and no other. A
    constraint outlives preemption: accepted tokens are not sent again.
    """

    def fill_mask(self, mask: npt.NDArray[np.uint32]) -> None:
        """mask: u32[ceil(V / 32)]; written whole: bit `id % 32` of word `id // 32` is set for each token that may come.

        Without any bit set the request fails: there is no token that could be drawn.
        """
        ...

    def accept(self, token_id: int) -> None:
        """The token that was drawn, or forced."""
        ...

    def forced(self, most: int) -> Sequence[int]:
        """The next tokens, `most` at most, as far as masks would allow no others. They are not accepted yet.

        They are not drawn, and go through the model together with the last one that was.
        """
        ...

    @property
    def is_finished(self) -> bool:
        """Nothing may follow: the request ends with the token accepted last, as if that were a stop token."""
        ...


def mask_words(vocab_size: int) -> int:
    return -(-vocab_size // MASK_WORD_TOKENS)
