"""Asking for weights before they are read. Knows no layout.

Where a core follows a stream of weights by itself, asking takes a tenth of a GEMV's speed; where it does not, asking is
worth a third (weights from memory, GB/s a core without and with): Zen 4, Q4_0 33 and 29.6, Q4_1 33 and 27; Emerald
Rapids, Q4_0 11.4 and 16. So a GEMV that asks is a candidate, and the machine decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.jit.ir import Function, Value
from kernels.naming import AHEAD


@dataclass(frozen=True, slots=True)
class Prefetch:
    """How many bytes ahead of its loads a loop asks for what it reads, for either cache."""

    into_l2: int
    into_l1: int

    def ask(self, f: Function, weights: Value, num_bytes: int) -> None:
        """For as many bytes as are about to be read at `weights`."""
        f.prefetch_lines(f.offset(weights, self.into_l2), num_bytes, locality=2)
        f.prefetch_lines(f.offset(weights, self.into_l1), num_bytes, locality=3)


def technique(instructions: str, prefetch: Prefetch | None) -> str:
    """Of a GEMV's name: what it multiplies with, and whether it asks."""
    return instructions + AHEAD if prefetch else instructions


FROM_MEMORY = Prefetch(8192, 4096)
"""Of a GEMV, and of a tile of few rows, which are multiplied sooner than memory answers. Emerald Rapids, two threads,
share of the reading speed by a GEMV that asks for nothing, into L2 alone, into both: Q4_0 67, 90 and 99 %, Q4_K 74, 90
and 92, Q6_K 75, 85 and 95. Into L2 alone a load that waits for it takes one of the few places from which L1 asks, and
what is asked for ahead waits for one."""
