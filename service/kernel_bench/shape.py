"""What is measured: a matmul's sizes, how long, and how much memory stands for cold."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_S = 0.05
COLD_BYTES = 256 << 20  # beyond the last-level cache


@dataclass(frozen=True, slots=True)
class Shape:
    """f32[m, n] = f32[m, k] x f32[k, n]; a GEMV has m = 1."""

    m: int
    n: int
    k: int
