"""The tokens that DRY looks through, as an array that grows. Knows no logits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.engine.request import Dry


class History:
    """One request's prompt and output."""

    def __init__(self, dry: Dry, prompt_ids: Sequence[int]) -> None:
        self._dry = dry
        self._ids = np.zeros(max(64, 2 * len(prompt_ids)), np.int32)
        self._num_ids = 0
        self.extend(prompt_ids)

    def __len__(self) -> int:
        return self._num_ids

    def extend(self, token_ids: Sequence[int]) -> None:
        """A token that breaks sequences becomes a number below 0 that no other place has: it matches nothing."""
        end = self._num_ids + len(token_ids)
        if end > len(self._ids):
            self._ids = np.concatenate((self._ids, np.zeros(max(end, len(self._ids)), np.int32)))
        for place, token_id in enumerate(token_ids, self._num_ids):
            self._ids[place] = -1 - place if token_id in self._dry.breaker_ids else token_id
        self._num_ids = end

    def write(self, record: npt.NDArray[np.void]) -> None:
        """Into a SAMPLING record, which then points into this object."""
        count = self._num_ids if self._dry.last_n is None else min(self._num_ids, self._dry.last_n)
        record["num_history"] = count
        record["history"] = self._ids[self._num_ids - count :].ctypes.data
        record["dry_allowed_length"] = self._dry.allowed_length
        record["dry_multiplier"], record["dry_base"] = self._dry.multiplier, self._dry.base
