"""Who is the fastest of several, by a clear margin, within a bound of time. Knows no kernel.

All run in turn, round by round, and each round gives a ratio: a shared machine's speed drifts, and what drifts hits all
of a round alike. What hits one run alone, a neighbour or a preempted thread, spares the best times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

LEAST_ROUNDS, MOST_ROUNDS = 5, 15
CLEAR_GAIN = 1.05
"""What both the median ratio and that of the best times must be for another than the first to win."""
LEAST_SHARE = 0.75
"""Of the rounds: so many must it win."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """winner: an index. gain: times as fast as the first one, at least; 1 where that one wins."""

    winner: int
    gain: float


def nothing() -> None:
    """To prepare."""


def race(
    runs: Sequence[Callable[[], None]],
    clock: Callable[[], float],
    bound_s: float,
    prepare: Callable[[], None] = nothing,
) -> Verdict | None:
    """runs: the one that wins unless another is clearly faster comes first. prepare: before each run, its time counts
    for none of them. None: too few rounds fit the bound.

    After a first round, which warms caches, a round begins only if one as long as the last ends within the bound.
    """
    begun_s = before_s = clock()
    for run in runs:
        prepare()
        run()
    round_s = clock() - before_s
    rounds: list[list[float]] = []
    while len(rounds) < MOST_ROUNDS and clock() - begun_s + round_s <= bound_s:
        before_s = clock()
        rounds.append([_seconds(prepare, run, clock) for run in runs])
        round_s = clock() - before_s
    return _verdict(rounds) if len(rounds) >= LEAST_ROUNDS else None


def _seconds(prepare: Callable[[], None], run: Callable[[], None], clock: Callable[[], float]) -> float:
    """Of the run."""
    prepare()
    begun_s = clock()
    run()
    return clock() - begun_s


def _verdict(rounds: Sequence[Sequence[float]]) -> Verdict:
    """rounds: seconds of each run, the static one's first."""
    best = Verdict(0, 1.0)
    for index in range(1, len(rounds[0])):
        ratios = [seconds[0] / seconds[index] for seconds in rounds]
        best_times = min(seconds[0] for seconds in rounds) / min(seconds[index] for seconds in rounds)
        gain, wins = min(median(ratios), best_times), sum(ratio > 1 for ratio in ratios)
        if gain >= CLEAR_GAIN and wins >= LEAST_SHARE * len(ratios) and gain > best.gain:
            best = Verdict(index, gain)
    return best
