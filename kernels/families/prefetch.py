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
    """num_bytes: how far ahead of the loads. locality: of llvm.prefetch, 3 into L1, 2 into L2."""

    num_bytes: int
    locality: int

    def ask(self, f: Function, weights: Value, num_bytes: int) -> None:
        """For as many bytes as are about to be read at `weights`."""
        f.prefetch_lines(f.offset(weights, self.num_bytes), num_bytes, self.locality)


def technique(instructions: str, prefetch: Prefetch | None) -> str:
    """Of a GEMV's name: what it multiplies with, and whether it asks."""
    return instructions + AHEAD if prefetch else instructions


OF_FEW_ROWS = Prefetch(2048, 3)
"""Of a tile of few rows, which are multiplied sooner than memory answers."""
OF_STREAM = Prefetch(8192, 2)
"""Of a GEMV. Emerald Rapids, share of the reading speed: Q4_0 85 % at 2 KiB, 93 % from 4 to 12 KiB, into L1 88 %; Q6_K
82 % at 4 KiB, 92 % at 8."""
