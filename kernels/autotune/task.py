"""What is to be chosen: the tiles that multiply the weights of one shape. Knows no clock and no memory."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.variant import MatmulVariant
from kernels.select import MatmulChoice

LEAST_ELEMENTS = 1 << 16
"""Of weights: multiplying fewer costs a step nothing that a tile could save."""


@dataclass(frozen=True, slots=True)
class TileTask:
    """Weights f32[n, k] and the static choice for them."""

    choice: MatmulChoice
    n: int
    k: int

    @property
    def gemms(self) -> tuple[MatmulVariant, ...]:
        """The static one first."""
        return self.choice.family.gemms_beside(self.choice.gemm)

    @property
    def gemvs(self) -> tuple[MatmulVariant, ...]:
        """The static one first."""
        return self.choice.family.gemvs_beside(self.choice.gemm)

    @property
    def num_bytes(self) -> int:
        """Of the packed weights."""
        rhs = self.choice.rhs
        return -(-self.n // rhs.nr) * rhs.panel_bytes(self.k)

    @property
    def is_open(self) -> bool:
        """Whether there is something to choose."""
        return self.n * self.k >= LEAST_ELEMENTS and len(self.gemms) + len(self.gemvs) > 2

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """Equal for tasks that have the same answer."""
        choice = self.choice
        return choice.family.source, str(choice.gemm.name), self.n, self.k

    @property
    def key(self) -> str:
        """All that its answer depends on, but for the machine and the sources."""
        candidates = ", ".join(str(variant.name) for variant in (*self.gemms, *self.gemvs))
        return f"{self.choice.family.source} {self.n} x {self.k}: {candidates}"
