"""Weights packed for SME2: panels of two streaming vectors of columns. Layout and NumPy packing, no arithmetic.

    panel of nr columns, per block of 32:
    | d: nr f16 | m: nr f16 (qai4 only) | 8 groups x nr columns x 4 elements |

The f16 stand in pairs, column c beside c + nr/2, so that one load and two conversions yield both vectors. Nibbles
follow each other, the first in the low half of its byte: a table look-up (luti4) makes two vectors of bytes of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.block32.rhs import WeightCode
from kernels.quant.blocks import BLOCK

VECTORS = 2  # of a panel
KR = 4


@dataclass(frozen=True, slots=True)
class StreamingRhs:
    """One packed layout, for one streaming vector length."""

    code: WeightCode
    nr: int
    kr: int = KR

    @property
    def layout_id(self) -> str:
        return f"{self.code.name}p{self.nr}x{self.kr}s1s0"

    @property
    def min_offset(self) -> int:
        return 2 * self.nr

    @property
    def quants_offset(self) -> int:
        return 2 * self.nr * self.code.source.num_scales

    @property
    def block_bytes(self) -> int:
        return self.nr * self.code.source.block_bytes

    def panel_bytes(self, k: int) -> int:
        return k // BLOCK * self.block_bytes

    def pack(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """raw: u8[N, row bytes] in the source format -> u8[ceil(N / nr), K/32, block_bytes]"""
        source = self.code.source
        num_panels = -(-raw.shape[0] // self.nr)
        rows = np.zeros((num_panels * self.nr, raw.shape[1]), np.uint8)
        rows[: raw.shape[0]] = raw
        blocks = rows.reshape(num_panels, VECTORS, self.nr // VECTORS, -1, source.block_bytes)
        fields = [blocks[..., 2 * i : 2 * i + 2].transpose(0, 3, 2, 1, 4) for i in range(source.num_scales)]
        quants = blocks[..., 2 * source.num_scales :]
        if self.code.is_nibble:
            quants = np.concatenate([quants & 15, quants >> 4], axis=-1)
        groups = streaming_groups(quants.reshape(num_panels, self.nr, -1, BLOCK), self.code.is_nibble)
        parts = [part.reshape(num_panels, groups.shape[1], -1) for part in (*fields, groups)]
        return np.ascontiguousarray(np.concatenate(parts, axis=-1))


def streaming_groups(codes: npt.NDArray[np.uint8], is_nibble: bool) -> npt.NDArray[np.uint8]:
    """codes: u8[panels, nr, K/32, 32] -> u8[panels, K/32, 8 groups, nr, 4 or 2 bytes]"""
    groups = codes.reshape(*codes.shape[:3], BLOCK // KR, KR).transpose(0, 2, 3, 1, 4)
    return groups[..., 0::2] | groups[..., 1::2] << np.uint8(4) if is_nibble else groups
