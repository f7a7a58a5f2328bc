"""A text cut into windows as llama-perplexity cuts it: whole ones, of which the second half is scored. Arrays only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.quality.measures import Ids


@dataclass(frozen=True, slots=True)
class Window:
    """`ids`: of the whole window, the begin token first where the model wants one."""

    ids: Ids

    @property
    def first(self) -> int:
        """The first position whose prediction is scored."""
        return len(self.ids) // 2

    @property
    def num_scored(self) -> int:
        return len(self.ids) - 1 - self.first

    @property
    def next_ids(self) -> Ids:
        """What the scored positions should predict."""
        return self.ids[self.first + 1 :]


def cut_windows(ids: Sequence[int], size: int, bos_id: int | None, most: int | None = None) -> Iterator[Window]:
    """`bos_id` replaces the first token of each window; at most `most` windows."""
    num_windows = len(ids) // size
    for index in range(num_windows if most is None else min(most, num_windows)):
        window = np.array(ids[index * size : (index + 1) * size], np.int64)
        if bos_id is not None:
            window[0] = bos_id
        yield Window(window)
