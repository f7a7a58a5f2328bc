"""XTC, exclude top choices (p-e-w 2024): at times the likeliest tokens but the last of them are left out. Native."""

from typing import Any, Final

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load, store

STREAM: Final = np.int64(0x5851F42D4C957F2D)
"""Whether a draw excludes is drawn itself: by the same key, with these bits of the seed turned."""


@inlined
def excludes(sampling: Any) -> Any:
    """Two tokens cannot both have more than half."""
    return sampling.xtc_probability > np.float32(0) and sampling.xtc_threshold <= np.float32(0.5)


@native
def exclude_top_choices(indices: int, values: int, weights: int, count: int, threshold: float) -> int:
    """Where two or more candidates have at least `threshold` of the mass, drop these but the last (logit falling, id
    rising), in place and in order. Returns how many are left."""
    total = 0.0
    for i in range(count):
        total += np.float64(load(weights + 4 * i, np.float32))
    bound = np.float64(threshold) * total
    num_top, last = 0, 0
    for i in range(count):
        if np.float64(load(weights + 4 * i, np.float32)) >= bound:
            if num_top == 0 or load(values + 4 * i, np.float32) <= load(values + 4 * last, np.float32):
                last = i
            num_top += 1
    if num_top < 2:
        return count
    kept = 0
    for i in range(count):
        weight = load(weights + 4 * i, np.float32)
        if i == last or np.float64(weight) < bound:
            store(indices + 4 * kept, load(indices + 4 * i, np.int32), np.int32)
            store(values + 4 * kept, load(values + 4 * i, np.float32), np.float32)
            store(weights + 4 * kept, weight, np.float32)
            kept += 1
    return kept
