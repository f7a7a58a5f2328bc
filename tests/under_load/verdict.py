"""A figure beside its bound, as a line. Knows no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True, slots=True)
class Verdict:
    what: str
    figure: float
    bound: float
    is_most: bool = True
    """The bound is the most that is allowed, else the least."""
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.figure <= self.bound if self.is_most else self.figure >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.is_most else ">="
        says = "holds" if self.holds else "MISSED"
        return f"{says}: {self.what}: {self.figure:.2f}{self.unit} {sign} {self.bound:g}{self.unit}"


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]
