"""When an open loop sends."""

from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import Arrivals, Ramp
from loadtest.errors import BadLoad

INF = float("inf")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    rate=st.floats(0.01, 1e4),
    burstiness=st.floats(0.1, 50) | st.just(INF),
    number=st.integers(2, 500),
    seed=st.integers(0, 999),
)
def test_they_ascend_from_0_and_offer_the_rate(rate: float, burstiness: float, number: int, seed: int) -> None:
    times = Arrivals(rate, burstiness).times(number, rng(seed))
    assert len(times) == number
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx((number - 1) / rate)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_spread_as_a_gamma_distribution(burstiness: float) -> None:
    """Its coefficient of variation is 1/sqrt(shape); 20,000 draws of a fixed seed."""
    gaps = np.diff(Arrivals(10.0, burstiness).times(20_001, rng()))
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.03)


def test_a_metronome() -> None:
    assert Arrivals(4.0, INF).times(4, rng()) == pytest.approx([0, 0.25, 0.5, 0.75])


def test_one_request_is_sent_at_once() -> None:
    assert Arrivals(4.0).times(1, rng()) == [0.0]


def test_all_at_once() -> None:
    assert Arrivals(INF).times(3, rng()) == [0.0, 0.0, 0.0]


def test_until_a_time() -> None:
    times = list(takewhile(lambda _: True, Arrivals(50.0).until(100.0, rng())))
    assert max(times) < 100.0
    assert len(times) == pytest.approx(5000, rel=0.05)


def test_ramps() -> None:
    linear, exponential = Ramp("linear", 1.0, 9.0), Ramp("exponential", 1.0, 9.0)
    assert [linear.rate(progress) for progress in (0, 0.5, 1)] == pytest.approx([1, 5, 9])
    assert [exponential.rate(progress) for progress in (0, 0.5, 1)] == pytest.approx([1, 3, 9])
    times = Arrivals(9.0, INF, linear).times(81, rng())
    assert times[1] == pytest.approx(1 / linear.rate(1 / 80))


def test_numbers_that_are_no_rate() -> None:
    for make in (
        lambda: Arrivals(0.0),
        lambda: Arrivals(float("nan")),
        lambda: Arrivals(1.0, 0.0),
        lambda: Ramp("linear", 0.0, 1.0),
        lambda: Ramp("linear", 1.0, INF),
    ):
        with pytest.raises(BadLoad):
            make()
