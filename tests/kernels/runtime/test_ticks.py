"""Ticks: calibration against a clock, and the buckets of the latency histogram."""

from collections.abc import Container

import numpy as np
import pytest

from kernels.jit.function import c_callable
from kernels.runtime.histogram import HISTOGRAM_EDGES_S, NUM_BUCKETS
from kernels.runtime.ticks import (
    histogram_bucket,
    measure_rate,
    nanosecond_scale,
    tick_rate,
    ticks_now,
)


@c_callable("int64(int64, int64)")
def bucket_of(ticks: int, scale: int) -> int:
    return histogram_bucket(ticks, scale)


class Machine:
    """A clock and a counter of 1 GHz; each reading takes 100 ns, and `stalls` names those after which the core is lost
    for 5 ms."""

    def __init__(self, stalls: Container[int]) -> None:
        self.now_ns = self.num_readings = 0
        self.stalls = stalls

    def ticks(self) -> int:
        self.num_readings += 1
        now = self.now_ns
        self.now_ns += 5_000_000 if self.num_readings in self.stalls else 100
        return now

    def clock_s(self) -> float:
        return self.ticks() / 1e9


@pytest.mark.parametrize("first", range(1, 26))
def test_a_core_lost_between_two_readings_leaves_the_rate_as_it_is(first: int) -> None:
    """Anywhere in the start's readings, and at most times in the end's."""
    for stalls in (range(first, first + 1), range(first, 10**6, 7)):
        machine = Machine(stalls)
        assert measure_rate(machine.ticks, machine.clock_s, 0.01) == pytest.approx(1e9, rel=1e-6)


def test_this_machine() -> None:
    assert 1e6 < tick_rate() < 1e10
    assert ticks_now() <= ticks_now()


@pytest.mark.parametrize("rate", [25e6, 121.875e6, 1e9, 2.445e9, 4e9])
def test_durations_fall_below_their_edge(rate: float) -> None:
    scale, bucket = nanosecond_scale(rate), bucket_of.ctypes
    for duration_s in np.geomspace(1e-8, 5.0, 500):
        ticks = round(duration_s * rate)
        found = bucket(ticks, scale)
        # The scale is rounded to 2^-20 ns and the edges are whole nanoseconds.
        exact_s = ticks / rate
        slack_s = 1.1e-9 + 1e-5 * exact_s
        if found < NUM_BUCKETS - 1:
            assert exact_s <= HISTOGRAM_EDGES_S[found] + slack_s
        if found > 0:
            assert exact_s >= HISTOGRAM_EDGES_S[found - 1] - slack_s


def test_edges_rise_by_two_an_octave() -> None:
    edges = np.array(HISTOGRAM_EDGES_S)
    assert len(edges) == NUM_BUCKETS - 1
    assert edges[0] == pytest.approx(64e-9)
    np.testing.assert_allclose(edges[2:] / edges[:-2], 2)
    assert (np.diff(edges) > 0).all()


def test_a_clock_that_jumps_back_counts_as_short() -> None:
    assert bucket_of.ctypes(-5, nanosecond_scale(1e9)) == 0
