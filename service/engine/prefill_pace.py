"""How many prompt tokens a step may compute beside running streams. Knows no sequences and no clock: seconds come in.

It learns what a step of so many streams takes, and what a prompt token adds to it, from the steps that were run. A step
may then take as long as the target says; without one, twice as long as its streams alone, or longer by as many times as
twice the waiting prompts outnumber the streams: a few streams cannot hold up a crowd.
"""

from __future__ import annotations

MARGIN = 0.95
"""Of the time that prompts may add: estimates err, and the target is meant for nearly all steps."""
LEAST_TOKENS = 4
"""Prompts make this much progress in every step, whatever it costs."""
ROW_STEP = 8
"""Rows of a step are rounded to these, streams and prompt tokens together: matmuls compute about so many at a time."""
WEIGHT = 0.25
"""Of a new measurement. One that is far off counts as twice or half of what was expected: a core was taken away."""


class PrefillPace:
    def __init__(self, target_s: float | None = None) -> None:
        """`target_s`: how long a step that streams wait for may take because of prompts."""
        assert target_s is None or target_s > 0, target_s
        self._target_s = target_s
        self._stream_s: dict[int, float] = {}
        """Of a step without prompts, by its number of streams."""
        self._token_s: float | None = None
        """What a prompt token adds."""

    def observe(self, num_streams: int, num_prompt_tokens: int, run_s: float) -> None:
        """A step that was run: how many sequences decoded, how many prompt tokens it computed beside them."""
        if num_prompt_tokens == 0:
            self._stream_s[num_streams] = _moved(self._stream_s.get(num_streams), run_s)
            return
        alone_s = self._alone_s(num_streams)
        if alone_s is not None:
            # Streams ride along for less than they take alone, so what is left can be next to nothing.
            added_s = max(run_s - alone_s, 0.25 * run_s)
            self._token_s = _moved(self._token_s, added_s / num_prompt_tokens)

    def num_tokens(self, num_streams: int, num_waiting: int) -> int | None:
        """Prompt tokens for a step with so many streams, while so many prompts wait. None: no limit."""
        if num_streams == 0:
            return None
        alone_s = self._alone_s(num_streams)
        if alone_s is None or not self._token_s:
            return None
        if self._target_s is not None:
            added_s = self._target_s - alone_s
        else:
            added_s = alone_s * max(1.0, 2.0 * num_waiting / num_streams)
        tokens = int(MARGIN * added_s / self._token_s)
        rows = num_streams + tokens
        rows = (
            rows // ROW_STEP * ROW_STEP if self._target_s is not None else (rows + ROW_STEP // 2) // ROW_STEP * ROW_STEP
        )
        return max(LEAST_TOKENS, rows - num_streams)

    def _alone_s(self, num_streams: int) -> float | None:
        """Of a step without prompts: as measured, or of the nearest number of streams that was."""
        if num_streams == 0:
            return 0.0
        if not self._stream_s:
            return None
        return self._stream_s[min(self._stream_s, key=lambda known: (abs(known - num_streams), known))]


def _moved(mean: float | None, value: float) -> float:
    if not mean:
        return value
    return mean + WEIGHT * (min(max(value, 0.5 * mean), 2.0 * mean) - mean)
