"""The scale of a group of weights: the one, of some tried, that loses least. Knows no format and no rows of bytes.

Codes q of a scale s give w ~ s q. With an importance p of each weight the error is sum p (w - s q)^2; for these codes
the best scale is <w, q>_p / <q, q>_p, and the error is then |w|_p^2 - <w, q>_p^2 / <q, q>_p. So a trial is worth
<w, q>_p^2 / <q, q>_p. Trials: the element of largest magnitude becomes one of REACHES, on either side, since -8 is
further than +7; beyond the range it is clipped, which long rows gain by. The best scale is rounded by once more, and
fitted to the codes that come of it, while that gains (Lloyd's iteration).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

REACHES = (-11, -10.2, -9.5, -8.9, -8.4, -8, -7.6, -7.2, -6.8, -6.3, 10.2, 9.3, 8.4, 7.8, 7.3, 6.9, 6.4)
REFINEMENTS = 2


def search_scales(grouped: Floats, least: int, most: int, importance: Floats | None = None) -> Floats:
    """f32[N, S, group] -> f32[N, S]; 0 where all weights are. `importance`: f32, positive, of a shape that broadcasts
    to that of `grouped`; None: all weights alike.
    """
    extreme = np.take_along_axis(grouped, np.abs(grouped).argmax(axis=-1)[..., None], axis=-1)[..., 0]
    weighted = grouped if importance is None else grouped * importance
    best = np.full(extreme.shape, -1, np.float32)
    scales = np.zeros_like(extreme)

    def attempt(tried: Floats) -> None:
        nonlocal best, scales
        codes = _codes(grouped, tried, least, most)
        along = np.einsum("nsg,nsg->ns", weighted, codes)
        length = np.einsum("nsg,nsg->ns", codes, codes if importance is None else codes * importance)
        fitted = np.divide(along, length, out=np.zeros_like(along), where=length > 0)
        worth = along * fitted
        better = worth > best
        best, scales = np.where(better, worth, best), np.where(better, fitted, scales)

    for reach in REACHES:
        attempt(extreme / np.float32(reach))
    for _ in range(REFINEMENTS):
        attempt(scales)
    return np.asarray(scales, np.float32)


def round_to_codes(grouped: Floats, scales: Floats, least: int, most: int) -> npt.NDArray[np.int8]:
    """f32[N, S, group], f32[N, S] -> int8[N, S, group]"""
    return _codes(grouped, scales, least, most).astype(np.int8)


def _codes(grouped: Floats, scales: Floats, least: int, most: int) -> Floats:
    """Whole numbers; zeros where the scale is 0."""
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    return np.clip(np.rint(grouped * inverse[..., None]), np.float32(least), np.float32(most))
