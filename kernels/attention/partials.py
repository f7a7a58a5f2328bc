"""How a range's share of a row's attention lies in memory: f32 m, l, scale of the weights, 13 unused, o[head_dim]."""

from __future__ import annotations

PARTIAL_HEAD = 16  # f32 in front of o, a cache line
WEIGHTS_SCALE_AT = 8  # bytes; where weights are integers
LEVELS = 32767.0
"""What a row's integer weights sum to. Rounding adds 64 at most: times values below 2^15 that is below 2^31."""


def partial_bytes(head_dim: int) -> int:
    return 4 * (PARTIAL_HEAD + head_dim)
