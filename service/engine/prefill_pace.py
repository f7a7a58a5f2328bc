"""How many prompt tokens a step may compute beside running streams. Knows no sequences and no clock: seconds come in.

It learns what a step of so many streams takes, and what a prompt token adds to it, from the steps that were run; while
prompts keep coming, now and then a step goes without, or the first would never be measured. A step may take as long as
the target says. Without a target it takes twice as long as its streams alone; and the more prompts wait for each
stream, the longer, for whoever waits for a first token waits many steps, a stream waits one: up to where streams would
no longer be fluent.
"""

from __future__ import annotations

MARGIN = 0.92
"""Of the time that prompts may add: estimates err, and the target is meant for nearly all steps. A prompt alone beside
its streams then takes 1 + 1 / 0.92 = 2.1 times as long as without them."""
TILE_TOKENS = 4
"""Kernels compute whole tiles of rows: what lies between two multiples costs as much as the higher one. And prompts
make this much progress in a step, whatever it costs."""
CROWD = 8.0
"""So many streams to a waiting prompt, and a step takes twice as long; with fewer it takes longer by as much."""
FLUENT_S = 0.032
"""Because of a crowd, a step takes no longer: 31 tokens a second are more than anybody reads."""
FIXED_ROWS = 8
"""A step without any row would take about as long as so many rows add: the weights have to be read."""
STEPS_BETWEEN = 24
"""Steps with prompts, at the most, between two without."""
WEIGHT, RARE_WEIGHT = 0.25, 0.5
"""Of a new measurement, and of one that comes after others of another kind. One that is far off counts as twice or half
of what was expected: a core was taken away."""


class PrefillPace:
    def __init__(self, target_s: float | None = None) -> None:
        """`target_s`: how long a step that streams wait for may take because of prompts."""
        assert target_s is None or target_s > 0, target_s
        self._target_s = target_s
        self._row_s: float | None = None
        """Of a step without prompts: its time, by its streams and FIXED_ROWS."""
        self._token_s: float | None = None
        """What a prompt token adds."""
        self._num_since = 0
        """Steps with prompts since the last one without."""

    def observe(self, num_streams: int, num_prompt_tokens: int, run_s: float) -> None:
        """A step that was run: how many sequences decoded, how many prompt tokens it computed beside them."""
        if num_prompt_tokens == 0:
            weight = RARE_WEIGHT if self._num_since else WEIGHT
            self._num_since = 0
            self._row_s = _moved(self._row_s, run_s / (FIXED_ROWS + num_streams), weight)
            return
        self._num_since += num_streams > 0
        alone_s = self._alone_s(num_streams)
        if alone_s is not None:
            # Streams ride along for less than they take alone, so what is left can be next to nothing.
            added_s = max(run_s - alone_s, 0.25 * run_s)
            self._token_s = _moved(self._token_s, added_s / num_prompt_tokens, WEIGHT)

    def num_tokens(self, num_streams: int, num_waiting: int) -> int | None:
        """Prompt tokens for a step with so many streams, while so many prompts wait. None: no limit."""
        if num_streams == 0:
            return None
        alone_s = self._alone_s(num_streams)
        if alone_s is None or not self._token_s:
            return None
        if self._num_since >= STEPS_BETWEEN:
            return 0
        tile_s = self._token_s * TILE_TOKENS
        if self._target_s is not None:
            num_tiles = int(MARGIN * (self._target_s - alone_s) / tile_s)  # whole tiles within the target, no more
        else:
            added_s = max(alone_s, min(alone_s * CROWD * num_waiting / num_streams, FLUENT_S - alone_s))
            num_tiles = round(MARGIN * added_s / tile_s)
        return TILE_TOKENS * max(1, num_tiles)

    def _alone_s(self, num_streams: int) -> float | None:
        """Of a step without prompts. None: there was none yet."""
        if num_streams == 0:
            return 0.0
        return None if self._row_s is None else self._row_s * (FIXED_ROWS + num_streams)


def _moved(mean: float | None, value: float, weight: float) -> float:
    if not mean:
        return value
    return mean + weight * (min(max(value, 0.5 * mean), 2.0 * mean) - mean)
