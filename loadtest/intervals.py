"""Confidence intervals of a ratio from paired rounds. Knows no load.

Rounds are paired, since a shared machine drifts between them; ratios are averaged as logarithms, so that A/B and B/A
tell the same. The interval is Student's t over the rounds: with few of them it is wide, as it should be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, 1.96 + 2.5/df is within 0.1 %.
T_95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean of a/b over the rounds, with its 95 % interval; one round has none."""

    mean: float
    low: float | None
    high: float | None


def t_95(degrees: int) -> float:
    return T_95[degrees - 1] if degrees <= len(T_95) else 1.96 + 2.5 / degrees


def ratio_of(a: Sequence[float], b: Sequence[float]) -> Ratio | None:
    """None where a ratio says nothing: a round without both values, or a value of 0."""
    assert len(a) == len(b), "rounds are paired"
    if not a or not all(one > 0 and other > 0 for one, other in zip(a, b, strict=True)):
        return None
    logs = [math.log(one / other) for one, other in zip(a, b, strict=True)]
    mean = fmean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(mean), None, None)
    half = t_95(len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
