"""Packed weights with f16 scales per 32 elements of K. Layout and NumPy packing, no arithmetic.

    panel of nr columns, per block of 32:
    | d: nr f16 | m: nr f16 (qai4 only) | 16/kr or 32/kr groups x nr columns x kr B |

A 4-bit group's byte holds k in its low nibble and k + 16 in its high one, as GGML has it, so packing moves bytes and
changes none. Columns past N are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.jit.ir import Value
from kernels.quant.blocks import BLOCK, Q4_0, Q4_1, Q8_0, BlockFormat


@dataclass(frozen=True, slots=True)
class WeightCode:
    """What the integers of a format are. `has_min`: a block adds m x sum(lhs)."""

    name: str
    source: BlockFormat
    is_nibble: bool
    has_min: bool

    @property
    def is_signed_nibble(self) -> bool:
        return self.is_nibble and not self.has_min


QSI4 = WeightCode("qsi4c32", Q4_0, is_nibble=True, has_min=False)
QAI4 = WeightCode("qai4c32", Q4_1, is_nibble=True, has_min=True)
QSI8 = WeightCode("qsi8c32", Q8_0, is_nibble=False, has_min=False)


@dataclass(frozen=True, slots=True)
class Rhs32:
    """One packed layout.

    flip_sign: int8 plus 128, for instructions that want unsigned weights; nibbles minus 8, as two's complement, for
    those that want signed ones.
    """

    code: WeightCode
    nr: int
    kr: int
    flip_sign: bool = False

    @property
    def layout_id(self) -> str:
        return f"{self.code.name}p{self.nr}x{self.kr}" + (self._flipped if self.flip_sign else "")

    @property
    def _flipped(self) -> str:
        return "s" if self.code.is_nibble else "u"

    @property
    def needs_bias(self) -> bool:
        """Symmetric weights that are multiplied unsigned owe -8 (nibbles) or -128 (bytes) x sum(lhs)."""
        return self.code.is_signed_nibble != self.flip_sign

    @property
    def min_offset(self) -> int:
        return 2 * self.nr

    @property
    def quants_offset(self) -> int:
        return 2 * self.nr * self.code.source.num_scales

    @property
    def num_groups(self) -> int:
        """Groups of kr bytes a column and block."""
        return self.code.source.quant_bytes // self.kr

    @property
    def block_bytes(self) -> int:
        return self.nr * self.code.source.block_bytes

    def group_offset(self, group: int) -> int:
        return self.quants_offset + group * self.nr * self.kr

    def panel_bytes(self, k: int) -> int:
        return k // BLOCK * self.block_bytes

    def pack(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """raw: u8[N, row bytes] in the source format -> u8[ceil(N / nr), K/32, block_bytes]"""
        num_panels = -(-raw.shape[0] // self.nr)
        if num_panels * self.nr != raw.shape[0]:
            rows = np.zeros((num_panels * self.nr, raw.shape[1]), np.uint8)
            rows[: raw.shape[0]] = raw
            raw = rows
        raw = np.ascontiguousarray(raw)
        num_blocks = raw.shape[1] // self.code.source.block_bytes
        packed = np.empty((num_panels, num_blocks, self.block_bytes), np.uint8)
        blocks = raw.reshape(num_panels, self.nr, num_blocks, self.code.source.block_bytes)
        for field in range(self.code.source.num_scales):
            into = packed[:, :, 2 * self.nr * field : 2 * self.nr * (field + 1)]
            scales = np.ndarray(blocks.shape[:3], np.uint16, raw.reshape(-1).data, 2 * field, blocks.strides[:3])
            into.view(np.uint16)[...] = scales.transpose(0, 2, 1)
        # kr bytes move as one number, wherever they lie.
        group = np.dtype(f"u{self.kr}") if self.kr in (2, 4, 8) else np.dtype(f"V{self.kr}")
        groups = np.ndarray(
            (num_panels, self.nr, num_blocks, self.num_groups),
            group,
            raw.reshape(-1).data,
            2 * self.code.source.num_scales,
            (*blocks.strides[:3], self.kr),
        ).transpose(0, 2, 3, 1)
        into = packed[:, :, self.quants_offset :]
        into.view(group).reshape(num_panels, num_blocks, self.num_groups, self.nr)[...] = groups
        if self.flip_sign:
            into ^= np.uint8(0x88 if self.code.is_nibble else 0x80)
        return packed


def unpack_nibbles(rhs: Rhs32, groups: list[Value]) -> list[Value]:
    """Bytes of two nibbles -> the low ones' and the high ones' groups; signed ones 16 times too large."""
    if rhs.flip_sign:
        return [w << 4 for w in groups] + [w & 0xF0 for w in groups]
    return [w & 15 for w in groups] + [w >> 4 for w in groups]
