"""The interval of a cost holds the cost, whatever the machine's spikes."""

import random

import pytest

from tests.costs.pairs import cost_of, measure_pairs


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
def test_the_interval_holds_what_was_put_in(share: float) -> None:
    draw = random.Random(7)

    def step(cost: float) -> float:
        spike = 10.0 if draw.random() < 0.02 else 1.0
        return spike * (1 + cost) * draw.gauss(1.0, 0.02)

    cost = measure_pairs(lambda: step(share), lambda: step(0.0), 10_000)
    assert cost.num_pairs == 10_000
    for low, high in (cost.median_interval, cost.mean_interval):
        assert low - 0.001 <= share <= high + 0.001
        assert high - low < 0.005
    assert cost.num_left_out > 100
    assert cost.is_within(share + 0.01)
    assert not cost.is_within(share - 0.01)


def test_few_pairs_say_nothing() -> None:
    with pytest.raises(AssertionError):
        cost_of([(1.0, 1.0)] * 99)
