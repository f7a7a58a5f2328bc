"""A race: who wins, by how much, and that it ends in time, all on a clock that only runs move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kernels.autotune.race import CLEAR_GAIN, LEAST_ROUNDS, MOST_ROUNDS, Verdict, race
from tests.kernels.autotune.fakes import Clock


def changing(clock: Clock, seconds: Iterator[float]) -> Callable[[], None]:
    def run() -> None:
        clock.now_s += next(seconds)

    return run


def forever(*seconds: float) -> Iterator[float]:
    while True:
        yield from seconds


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ((2.0, 1.0), Verdict(1, 2.0)),
        ((2.0, 1.5, 1.0), Verdict(2, 2.0)),
        ((2.0, 1.0, 1.5), Verdict(1, 2.0)),
        ((1.0, 2.0), Verdict(0, 1.0)),
        ((1.0, 1.0 / (CLEAR_GAIN - 0.01)), Verdict(0, 1.0)),
    ],
)
def test_another_wins_by_a_clear_margin(seconds: tuple[float, ...], verdict: Verdict) -> None:
    clock = Clock()
    assert race([clock.run(one) for one in seconds], clock, 1e6) == verdict


def test_a_slow_phase_of_the_machine_hits_all_alike() -> None:
    clock = Clock()
    first, second = (forever(*[one] * 4, *[5 * one] * 4) for one in (2.0, 1.0))
    assert race([changing(clock, first), changing(clock, second)], clock, 1e6) == Verdict(1, 2.0)


def test_what_hits_the_static_one_alone_makes_no_winner() -> None:
    """Preempted in four rounds of five: the median speaks for the other one, the best times do not."""
    clock = Clock()
    static = forever(3.0, 3.0, 3.0, 3.0, 1.0)
    assert race([changing(clock, static), clock.run(1.0)], clock, 1e6) == Verdict(0, 1.0)


def test_one_lucky_round_makes_no_winner() -> None:
    clock = Clock()
    lucky = forever(1.0, 1.0, 1.0, 1.0, 0.5)
    assert race([clock.run(1.0), changing(clock, lucky)], clock, 1e6) == Verdict(0, 1.0)


@pytest.mark.parametrize("round_s", [1e-5, 0.004, 0.0099, 0.013, 0.02, 0.5])
def test_time_is_bounded(round_s: float) -> None:
    clock = Clock()
    bound_s = 0.06
    verdict = race([clock.run(round_s / 2), clock.run(round_s / 2)], clock, bound_s)
    assert clock.now_s <= max(bound_s, round_s) + 1e-9, "one round is always run"
    assert (verdict is None) == (bound_s / round_s < LEAST_ROUNDS + 1)


def test_what_prepares_a_run_counts_for_nobody() -> None:
    """But takes of the time there is."""
    clock, num_prepared = Clock(), 0

    def prepare() -> None:
        nonlocal num_prepared
        num_prepared += 1
        clock.now_s += 10.0

    assert race([clock.run(2.0), clock.run(1.0)], clock, 1e6, prepare) == Verdict(1, 2.0)
    assert num_prepared == 2 * (1 + MOST_ROUNDS)
    assert race([clock.run(2.0), clock.run(1.0)], clock, 23.0 * LEAST_ROUNDS, prepare) is None


def test_rounds_are_bounded() -> None:
    clock = Clock()
    race([clock.run(1.0), clock.run(1.0)], clock, 1e6)
    assert clock.now_s == 2 * (1 + MOST_ROUNDS)
