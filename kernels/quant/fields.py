"""What a row of quantised weights consists of, once its bytes are sorted: scales, minima, codes. Knows no format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

BLOCK = 32


@dataclass(frozen=True, slots=True)
class Fields:
    """N rows of K weights, S scales a row: K / 32, or K / 256 with byte sub-scales under them.

    weight = d * sub_scale * (code - zero) + m              formats of 32
    weight = d * sub_scale * (code - zero) - m * sub_min    formats of 256
    """

    d: npt.NDArray[np.uint16]  # f16 bits [N, S]
    codes: npt.NDArray[np.uint8]  # unsigned [N, K/32, 32]
    m: npt.NDArray[np.uint16] | None = None  # f16 bits [N, S]
    sub_scales: npt.NDArray[np.int8] | None = None  # [N, K/32, 1 or 2]
    sub_mins: npt.NDArray[np.int8] | None = None  # [N, K/32, 1 or 2]


class SourceFormat(Protocol):
    """A tensor type of a file."""

    @property
    def name(self) -> str: ...

    @property
    def row_block(self) -> int:
        """K is a multiple of it."""

    @property
    def block_bytes(self) -> int:
        """Bytes of `row_block` weights."""

    def fields(self, raw: npt.NDArray[np.uint8]) -> Fields: ...

    def dequantise(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...
