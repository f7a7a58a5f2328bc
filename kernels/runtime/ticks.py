"""Ticks to seconds, and to the buckets of the latency histogram. Knows no kernel.

The tick rate is measured against the monotonic clock on every architecture: Arm's cntfrq_el0 is what firmware wrote
there, and x86 does not say.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Final

from kernels.jit.function import c_callable, inlined
from kernels.jit.native import count_leading_zeros, read_ticks
from kernels.runtime.histogram import FIRST_EDGE_EXPONENT, HISTOGRAM_EDGES_S, NUM_BUCKETS

__all__ = ["HISTOGRAM_EDGES_S", "histogram_bucket", "measure_rate", "nanosecond_scale", "tick_rate", "ticks_now"]

CALIBRATION_S: Final = 0.01
MOMENT_TRIES: Final = 8
SCALE_SHIFT: Final = 20  # nanoseconds = ticks * scale >> SCALE_SHIFT


@c_callable("int64()")
def _ticks_now() -> int:
    return read_ticks()  # type: ignore[no-any-return]


def ticks_now() -> int:
    """The tick counter as Python sees it."""
    return int(_ticks_now.ctypes())


def _moment(ticks: Callable[[], int], clock_s: Callable[[], float]) -> tuple[int, float]:
    """Both counters at one moment: of several pairs the one read quickest.

    A thread that loses its core between the two readings would put all the time it waited into the rate.
    """
    best = (math.inf, 0, 0.0)
    for _ in range(MOMENT_TRIES):
        before_s, now, after_s = clock_s(), ticks(), clock_s()
        best = min(best, (after_s - before_s, now, (before_s + after_s) / 2))
    return best[1:]


def measure_rate(
    ticks: Callable[[], int] = ticks_now,
    clock_s: Callable[[], float] = time.perf_counter,
    duration_s: float = CALIBRATION_S,
) -> float:
    """Ticks per second, over `duration_s` of waiting."""
    ticks()
    start, start_s = _moment(ticks, clock_s)
    while clock_s() - start_s < duration_s:
        pass
    end, end_s = _moment(ticks, clock_s)
    return (end - start) / (end_s - start_s)


@functools.cache
def tick_rate() -> float:
    """Ticks per second of this machine, measured once."""
    return measure_rate()


def nanosecond_scale(rate: float) -> int:
    return max(1, round(1e9 / rate * (1 << SCALE_SHIFT)))


@inlined
def histogram_bucket(ticks: int, scale: int) -> int:
    """The bucket of a duration; native."""
    nanoseconds = max(ticks, 0) * scale >> SCALE_SHIFT
    # One return: numba has lost a caller's loop over an inlined function with two.
    exponent = 63 - count_leading_zeros(nanoseconds | 1)
    half = nanoseconds >> max(exponent - 1, 0) & 1
    bucket = min(2 * (exponent - FIRST_EDGE_EXPONENT) + half + 1, NUM_BUCKETS - 1)
    return bucket if nanoseconds >= 64 else 0
