"""Two ways of doing the same step in turn -> what one costs over the other, with an interval. Knows no model.

The machine drifts by tens of per cent within minutes, so a pair is two steps side by side, first one way, then the
other, with the order drawn anew each time. What a pair says is the logarithm of its ratio. The median of these is told
with its distribution-free interval (order statistics), since on a shared machine single steps take ten times as long;
the mean leaves out the pairs whose ratio is beyond 2.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median, stdev

Z_95 = 1.96
MOST_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the first way over the second, as shares of the second: 0.01 is one per cent more."""

    num_pairs: int
    median: float
    median_interval: tuple[float, float]
    mean: float
    mean_interval: tuple[float, float]
    num_left_out: int
    base_s: float
    """A step of the second way, median."""

    def line(self, what: str, most: float) -> str:
        def interval(low: float, high: float) -> str:
            return f"95 % interval {low:+.3%} to {high:+.3%}"

        return (
            f"{what}: median {self.median:+.3%}, {interval(*self.median_interval)}; "
            f"mean {self.mean:+.3%}, {interval(*self.mean_interval)}; "
            f"{self.num_pairs} pairs, {self.num_left_out} left out of the mean; a step takes "
            f"{1e3 * self.base_s:.2f} ms; bar {most:.0%}: {'met' if self.is_within(most) else 'NOT MET'}"
        )

    def is_within(self, most: float) -> bool:
        """By the median with 95 % confidence, and by the mean as it was found: single steps pull that one about."""
        return self.median_interval[1] <= most and self.mean <= most


def measure_pairs(first: Callable[[], float], second: Callable[[], float], num_pairs: int, seed: int = 0) -> Cost:
    """Each callable does one step and returns its seconds."""
    draw = random.Random(seed)
    pairs = []
    for _ in range(num_pairs):
        if draw.random() < 0.5:
            one = first()
            pairs.append((one, second()))
        else:
            other = second()
            pairs.append((first(), other))
    return cost_of(pairs)


def cost_of(pairs: list[tuple[float, float]]) -> Cost:
    """(seconds of the first way, of the second) of each pair; some hundred at least."""
    assert len(pairs) >= 100, f"{len(pairs)} pairs say nothing"
    ratios = sorted(math.log(one / other) for one, other in pairs)
    count = len(ratios)
    reach = math.ceil(Z_95 * math.sqrt(count) / 2)
    kept = [ratio for ratio in ratios if abs(ratio) <= math.log(MOST_RATIO)]
    mean, half = fmean(kept), Z_95 * stdev(kept) / math.sqrt(len(kept))
    low, high = ratios[max(0, count // 2 - reach)], ratios[min(count - 1, count // 2 + reach)]
    return Cost(
        num_pairs=count,
        median=math.expm1(median(ratios)),
        median_interval=(math.expm1(low), math.expm1(high)),
        mean=math.expm1(mean),
        mean_interval=(math.expm1(mean - half), math.expm1(mean + half)),
        num_left_out=count - len(kept),
        base_s=median(other for _, other in pairs),
    )
