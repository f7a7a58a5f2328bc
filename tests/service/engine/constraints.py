"""Constraints that tests can predict."""

from collections.abc import Container, Sequence

import numpy as np
import numpy.typing as npt

from service.engine.constraint import MASK_WORD_TOKENS


class Script:
    """Allows exactly these tokens, one after the other, then is finished. Asserts that it is asked in order."""

    def __init__(self, *token_ids: int) -> None:
        self.token_ids = token_ids
        self.accepted: list[int] = []
        self.num_masks = 0

    def fill_mask(self, mask: npt.NDArray[np.uint32]) -> None:
        assert not self.is_finished
        self.num_masks += 1
        allowed = self.token_ids[len(self.accepted)]
        mask[:] = 0
        mask[allowed // MASK_WORD_TOKENS] = 1 << allowed % MASK_WORD_TOKENS

    def accept(self, token_id: int) -> None:
        assert token_id == self.token_ids[len(self.accepted)]
        self.accepted.append(token_id)

    def forced(self, most: int) -> Sequence[int]:
        return ()

    @property
    def is_finished(self) -> bool:
        return len(self.accepted) == len(self.token_ids)


class Nothing(Script):
    """Allows no token."""

    def fill_mask(self, mask: npt.NDArray[np.uint32]) -> None:
        self.num_masks += 1
        mask[:] = 0


class Broken(Script):
    def fill_mask(self, mask: npt.NDArray[np.uint32]) -> None:
        raise OSError("a grammar on fire")


class Forcing(Script):
    """Forces whatever comes next, up to a place that is in `choices`: there a token has to be drawn."""

    def __init__(self, token_ids: Sequence[int], choices: Container[int] = ()) -> None:
        super().__init__(*token_ids)
        self.choices = choices

    def forced(self, most: int) -> Sequence[int]:
        begin = end = len(self.accepted)
        while end < min(len(self.token_ids), begin + most) and end not in self.choices:
            end += 1
        return self.token_ids[begin:end]
