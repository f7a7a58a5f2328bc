"""How many prompt tokens a step may compute beside running streams. Knows no sequences and no clock: seconds come in.

It learns what a step of so many streams takes, and what a prompt token adds to it, from the steps that were run; while
prompts keep coming, now and then a step goes without, or the first would never be measured. A step may take as long as
the target says. Without a target it takes about twice as long as its streams alone; and the more prompts wait for each
stream, the longer, for whoever waits for a first token waits many steps, a stream waits one: up to where streams would
no longer be fluent.
"""

from __future__ import annotations

from collections import deque
from statistics import median

MARGIN = 0.95
"""Of the time that a target, or fluent streams, leave for prompts: estimates err, and it is for nearly all steps."""
SHARE = 1.1
"""Of the time that streams take alone, prompts add so much, if they may. A prompt then takes 1 + 1 / 1.1 times what
its tokens cost beside streams; the 95th percentile of what a stream waits for a token is under twice that without
prompts, for callers share the cores, and what they take of a step does not double."""
TILE_TOKENS = 4
"""Kernels compute whole tiles of rows: what lies between two multiples costs nearly as much as the higher one. And
prompts make this much progress in a step, whatever it costs."""
MANY_TOKENS = 24
"""From here on only whole tiles; with fewer, what would be left out is more than what a broken tile costs."""
CROWD = 8.0
"""With so many streams to a waiting prompt a step takes twice as long; with fewer it takes longer by as much."""
FLUENT_S = 0.030
"""Because of a crowd, a step takes no longer: 33 tokens a second are more than anybody reads."""
FIXED_ROWS = 8
"""A step without any row would take about as long as so many rows add: the weights have to be read."""
STEPS_BETWEEN = 32
"""Steps with prompts, at the most, between two without."""
STEPS_KEPT = 64
"""Without prompts, the last ones. Their lower quartile counts: a core that is taken away makes steps longer, a dozen in
a row where another process has work for a third of a second, and nothing makes them shorter."""
RARE_WEIGHT = 28
"""One without prompts among those with counts as so many: a shorter one is believed at once, a longer one with the
next."""
TOKENS_KEPT = 5
"""Steps with prompts, the last ones, whose median says what a token adds."""


class PrefillPace:
    def __init__(self, target_s: float | None = None) -> None:
        """`target_s`: how long a step that streams wait for may take because of prompts."""
        assert target_s is None or target_s > 0, target_s
        self._target_s = target_s
        self._rows_s: deque[float] = deque(maxlen=STEPS_KEPT)
        """Of steps without prompts: their time, by their streams and FIXED_ROWS."""
        self._tokens_s: deque[float] = deque(maxlen=TOKENS_KEPT)
        """What a prompt token added."""
        self._num_since = 0
        """Steps with prompts since the last one without."""

    def observe(self, num_streams: int, num_prompt_tokens: int, run_s: float) -> None:
        """A step that was run: how many sequences decoded, how many prompt tokens it computed beside them."""
        if num_prompt_tokens == 0:
            weight = RARE_WEIGHT if self._num_since else 1
            self._num_since = 0
            self._rows_s.extend([run_s / (FIXED_ROWS + num_streams)] * weight)
            return
        self._num_since += num_streams > 0
        alone_s = self._alone_s(num_streams)
        if alone_s is not None:
            # Streams ride along for less than they take alone, so what is left can be next to nothing.
            added_s = max(run_s - alone_s, 0.25 * run_s)
            self._tokens_s.append(added_s / num_prompt_tokens)

    def num_tokens(self, num_streams: int, num_waiting: int) -> int | None:
        """Prompt tokens for a step with so many streams, while so many prompts wait. None: no limit."""
        if num_streams == 0:
            return None
        alone_s = self._alone_s(num_streams)
        token_s = median(self._tokens_s) if self._tokens_s else 0.0
        if alone_s is None or token_s == 0.0:
            return None
        if self._num_since >= STEPS_BETWEEN:
            return 0
        if self._target_s is not None:
            num_tokens = int(MARGIN * (self._target_s - alone_s) / token_s)
        else:
            crowd_s = min(alone_s * CROWD * num_waiting / num_streams, FLUENT_S - alone_s)
            num_tokens = round(max(SHARE * alone_s, MARGIN * crowd_s) / token_s)
        if num_tokens > MANY_TOKENS:
            num_tokens -= num_tokens % TILE_TOKENS
        return max(TILE_TOKENS, num_tokens)

    def _alone_s(self, num_streams: int) -> float | None:
        """Of a step without prompts. None: there was none yet."""
        if num_streams == 0:
            return 0.0
        if not self._rows_s:
            return None
        return sorted(self._rows_s)[len(self._rows_s) // 4] * (FIXED_ROWS + num_streams)
