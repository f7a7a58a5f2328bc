"""How near two sets of logits are. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def cosines(ours: F32, expected: F32) -> F64:
    """f32[T, V] twice -> f64[T], of each position."""
    a, b = ours.astype(np.float64), expected.astype(np.float64)
    products: F64 = np.einsum("tv,tv->t", a, b)
    lengths: F64 = np.sqrt(np.einsum("tv,tv->t", a, a) * np.einsum("tv,tv->t", b, b))
    return products / lengths


@dataclass(frozen=True, slots=True)
class Likeness:
    """Cosines of one prompt: all positions as one vector, the last one, and what lies in between."""

    flat: float
    last: float
    mean: float
    worst: float

    @classmethod
    def of(cls, ours: F32, expected: F32) -> Likeness:
        each = cosines(ours, expected)
        (flat,) = cosines(ours.reshape(1, -1), expected.reshape(1, -1))
        return cls(float(flat), float(each[-1]), float(each.mean()), float(each.min()))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A position where another token comes first. `margin`: the reference's best logit less its second."""

    position: int
    ours: int
    reference: int
    margin: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the best token at each of `num_positions` positions."""

    num_positions: int
    disagreements: tuple[Disagreement, ...]

    @property
    def share(self) -> float:
        return 1 - len(self.disagreements) / self.num_positions

    @property
    def worst_margin(self) -> float:
        return max((each.margin for each in self.disagreements), default=0.0)

    @classmethod
    def of(cls, ours: F32, reference: F32, first: int = 0) -> Agreement:
        """`first`: the number of the first position."""
        best, reference_best = ours.argmax(axis=1), reference.argmax(axis=1)
        second, top = np.partition(reference, -2, axis=1)[:, -2:].T
        found = (
            Disagreement(first + int(at), int(best[at]), int(reference_best[at]), float(top[at] - second[at]))
            for at in np.flatnonzero(best != reference_best)
        )
        return cls(len(ours), tuple(found))

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.num_positions + other.num_positions, self.disagreements + other.disagreements)
