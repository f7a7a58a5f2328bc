"""When an open loop sends: gaps drawn from a gamma distribution around a rate, which may ramp. Knows no request."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.errors import BadLoad

RampShape = Literal["linear", "exponential"]


@dataclass(frozen=True, slots=True)
class Ramp:
    """The rate goes from `start_rps` to `end_rps` over the run."""

    shape: RampShape
    start_rps: float
    end_rps: float

    def __post_init__(self) -> None:
        if not (0 < self.start_rps < math.inf and 0 < self.end_rps < math.inf):
            raise BadLoad(f"a ramp goes from and to a rate above 0, not from {self.start_rps} to {self.end_rps}")

    def rate(self, progress: float) -> float:
        """progress: 0 at the first request, 1 at the last."""
        if self.shape == "linear":
            return self.start_rps + (self.end_rps - self.start_rps) * progress
        return float(self.start_rps * (self.end_rps / self.start_rps) ** progress)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests per second: `rate`, inf for all at once, or a ramp.

    `burstiness` is the shape of the gamma distribution: 1 is Poisson, less comes in bursts, more is more even, inf is
    a metronome.
    """

    rate: float
    burstiness: float = 1.0
    ramp: Ramp | None = None

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise BadLoad(f"a rate is above 0, not {self.rate}")
        if not self.burstiness > 0:
            raise BadLoad(f"burstiness is above 0, not {self.burstiness}")

    def times(self, num_requests: int, rng: np.random.Generator) -> list[float]:
        """Seconds from the start, ascending, the first 0.

        The gaps are scaled to the time they should take together, as in `vllm bench serve`: a short run offers exactly
        the rate that was asked for, whatever was drawn.
        """
        rates = [self._rate(index / max(1, num_requests - 1)) for index in range(num_requests)]
        expected = np.array([0.0 if math.isinf(rate) else 1.0 / rate for rate in rates[1:]])
        gaps = expected * self._draw(len(expected), rng)
        if gaps.sum() > 0:
            gaps *= expected.sum() / gaps.sum()
        return [0.0, *np.cumsum(gaps).tolist()][:num_requests]

    def until(self, duration_s: float, rng: np.random.Generator) -> Iterator[float]:
        """Seconds from the start, ascending, all below the duration; never ends for an infinite rate."""
        now_s = 0.0
        while now_s < duration_s:
            yield now_s
            rate = self._rate(now_s / duration_s)
            now_s += 0.0 if math.isinf(rate) else float(self._draw(1, rng)[0]) / rate

    def _rate(self, progress: float) -> float:
        return self.rate if self.ramp is None else self.ramp.rate(progress)

    def _draw(self, num_gaps: int, rng: np.random.Generator) -> np.ndarray:
        """f64[num_gaps], of mean 1."""
        if math.isinf(self.burstiness):
            return np.ones(num_gaps)
        return rng.gamma(self.burstiness, 1.0 / self.burstiness, num_gaps)
