"""The latency histogram's buckets, fixed in nanoseconds so that counts add up over hosts. Knows no clock.

Bucket k counts durations below edge k: two buckets an octave from 64 ns to 0.5 s, the last one is open.
"""

from typing import Final

NUM_BUCKETS: Final = 48
FIRST_EDGE_EXPONENT: Final = 6


def _edge_ns(bucket: int) -> int:
    octave, upper_half = divmod(bucket, 2)
    return (3 << FIRST_EDGE_EXPONENT - 1 if upper_half else 2 << FIRST_EDGE_EXPONENT - 1) << octave


HISTOGRAM_EDGES_S: Final = tuple(_edge_ns(bucket) * 1e-9 for bucket in range(NUM_BUCKETS - 1))
