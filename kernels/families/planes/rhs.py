"""Packed weights as bit planes. Layout and NumPy packing, no arithmetic.

    panel of nr columns, f16 scales per 32, a block:     | d: nr f16 | m: nr f16 (asymmetric) | planes |
    panel of nr columns, a super-block of 256:           | d: nr f16 | -dmin: nr f16 (asymmetric) | 8 x block |
      its block of 32, sub-scales per 32:                | sc: nr B | m: nr B | planes |
      the same of six bits:                              | low: nr B | high: nr / 2 B | planes |
      its block of 32, sub-scales per 16:                | nr x 2 int8; Q2_K: low nibbles sc, high nibbles m | planes |

The codes of a block and panel are 32/kr groups x nr columns x kr elements; cut in eight equal parts they are the
operands of the dot products: nr x 4 elements each. A plane of w bits has w words of nr x 4 bytes; word i holds the
operands i, i + w, i + 2w, ... from the low bits up. With w = 4 and kr = 4 that is GGML's own nibble order.
Columns past N are zeros.

Of six bits, `low` has four of sc, then four of m, and `high` what is left: a nibble sc / 16 + 4 (m / 16), of column i
low and of i + nr / 2 high. A panel of Q4_K is as large as its source then, not 1.028 times: what memory bounds has that
much less to wait for, at the price of ten instructions a block and panel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.planes.code import PlaneCode
from kernels.jit.ir import Function, Value
from kernels.quant.fields import BLOCK, Fields
from kernels.quant.super_blocks import SUB_BLOCKS

OPERANDS = 8
PACK_BYTES = 1 << 20  # codes that are sorted at a time: what stays in a cache

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PlaneRhs:
    """One packed layout."""

    code: PlaneCode
    nr: int
    kr: int

    @property
    def layout_id(self) -> str:
        return f"{self.code.name}p{self.nr}x{self.kr}"

    @property
    def word_bytes(self) -> int:
        return 4 * self.nr

    @property
    def num_words(self) -> int:
        return sum(self.code.planes)

    @property
    def num_halves(self) -> int:
        """f16 scales of a column, per block of 32 or per super-block."""
        return 2 if self.code.has_min else 1

    @property
    def header_bytes(self) -> int:
        return 2 * self.nr * self.num_halves if self.code.is_super else 0

    @property
    def scales_bytes(self) -> int:
        """What precedes the planes in a block."""
        if not self.code.is_super:
            return 2 * self.nr * self.num_halves
        if self.code.six_bits:
            return self.nr * 3 // 2
        return self.nr * (1 + self.code.has_min) if self.code.sub == BLOCK else 2 * self.nr

    @property
    def block_bytes(self) -> int:
        return self.scales_bytes + self.num_words * self.word_bytes

    @property
    def super_bytes(self) -> int:
        return self.header_bytes + SUB_BLOCKS * self.block_bytes

    def panel_bytes(self, k: int) -> int:
        num_blocks = k // BLOCK
        return num_blocks * self.block_bytes + num_blocks // SUB_BLOCKS * self.header_bytes

    # The same as IR: a panel's size, and where a block and the f16 scales over it lie.

    def emit_panel_bytes(self, num_blocks: Value) -> Value:
        if self.code.is_super:
            return (num_blocks >> 3) * self.super_bytes
        return num_blocks * self.block_bytes

    def emit_block(self, f: Function, panel: Value, index: Value) -> tuple[Value, Value]:
        """(f16 scales, block)"""
        if not self.code.is_super:
            block = f.offset(panel, index * self.block_bytes)
            return block, block
        header = f.offset(panel, (index >> 3) * self.super_bytes)
        return header, f.offset(f.offset(header, (index & 7) * self.block_bytes), self.header_bytes)

    def operand_columns(self, index: int) -> list[int]:
        """The column of each byte of an operand."""
        first = index * self.word_bytes
        return [place % (self.nr * self.kr) // self.kr for place in range(first, first + self.word_bytes)]

    # Packing.

    def pack(self, raw: Bytes) -> Bytes:
        """raw: u8[N, row bytes] in the source format -> u8[ceil(N / nr), panel bytes]"""
        k = raw.shape[1] // self.code.source.block_bytes * self.code.source.row_block
        num_panels = -(-raw.shape[0] // self.nr)
        packed = np.empty((num_panels, self.panel_bytes(k)), np.uint8)
        step = max(1, PACK_BYTES // (self.nr * k))
        for first in range(0, num_panels, step):
            rows = raw[first * self.nr : (first + step) * self.nr]
            panels = packed[first : first + step]
            missing = len(panels) * self.nr - len(rows)
            if missing:
                rows = np.concatenate([rows, np.zeros((missing, raw.shape[1]), np.uint8)])
            self._pack_panels(self.code.source.fields(rows), panels)
        return packed

    def _pack_panels(self, fields: Fields, panels: Bytes) -> None:
        halves = [fields.d] if fields.m is None else [fields.d, fields.m]
        if self.code.is_super:
            if fields.m is not None:
                halves[1] = fields.m ^ np.uint16(0x8000)
            of_super = panels.reshape(len(panels), -1, self.super_bytes)
            of_super[..., : self.header_bytes] = self._halves(halves)
            blocks, scales = of_super[..., self.header_bytes :], self._sub_scales(fields)
        else:
            blocks, scales = panels, self._halves(halves)
        blocks = blocks.reshape(len(panels), -1, SUB_BLOCKS if self.code.is_super else 1, self.block_bytes)
        blocks[..., : self.scales_bytes] = scales.reshape(*blocks.shape[:3], -1)
        blocks[..., self.scales_bytes :] = self._planes(fields.codes).reshape(*blocks.shape[:3], -1)

    def _by_panel(self, values: npt.NDArray[np.generic]) -> Bytes:
        """[N, S, ...] -> bytes [panels, S, nr, bytes]"""
        of_panels = values.reshape(-1, self.nr, values.shape[1], *values.shape[2:]).swapaxes(1, 2)
        return np.ascontiguousarray(of_panels).view(np.uint8).reshape(*of_panels.shape[:2], self.nr, -1)

    def _halves(self, halves: list[npt.NDArray[np.uint16]]) -> Bytes:
        parts = [self._by_panel(bits) for bits in halves]
        return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1)

    def _sub_scales(self, fields: Fields) -> Bytes:
        """u8[panels, K/32, scales_bytes]"""
        assert fields.sub_scales is not None
        scales = self._by_panel(fields.sub_scales)
        if fields.sub_mins is not None:
            mins = self._by_panel(fields.sub_mins)
            if self.code.six_bits:
                scales = self._in_six_bits(scales, mins)
            elif self.code.sub < BLOCK:
                scales = scales | mins << np.uint8(4)
            else:
                scales = np.concatenate([scales, mins], axis=2)
        return scales.reshape(*scales.shape[:2], -1)

    def _in_six_bits(self, scales: Bytes, mins: Bytes) -> Bytes:
        """u8[panels, K/32, nr, 1] of both, below 64 -> u8[panels, K/32, nr * 3 / 2, 1]"""
        low = scales & np.uint8(15) | mins << np.uint8(4)
        nibbles = scales >> np.uint8(4) | mins >> np.uint8(4) << np.uint8(2)
        half = self.nr // 2
        high = nibbles[:, :, :half] | nibbles[:, :, half:] << np.uint8(4)
        return np.concatenate([low, high], axis=2)

    def _planes(self, codes: Bytes) -> Bytes:
        """codes: u8[N, K/32, 32] -> u8[panels, K/32, words x word_bytes]"""
        shape = (codes.shape[0] // self.nr, codes.shape[1])
        runs = np.ascontiguousarray(codes).view(f"u{self.kr}")  # kr codes move as one number
        groups = runs.reshape(shape[0], self.nr, shape[1], BLOCK // self.kr).transpose(0, 2, 3, 1)
        operands = np.ascontiguousarray(groups).view(np.uint8).reshape(*shape, OPERANDS, self.word_bytes)
        words = np.empty((*shape, self.num_words, self.word_bytes), np.uint8)
        low = first = 0
        for width in self.code.planes:
            bits = operands >> np.uint8(low) & np.uint8((1 << width) - 1) if len(self.code.planes) > 1 else operands
            into = words[:, :, first : first + width]
            into[...] = bits[:, :, :width]
            for j in range(1, OPERANDS // width):
                into |= bits[:, :, j * width : (j + 1) * width] << np.uint8(j * width)
            low, first = low + width, first + width
        return words.reshape(*shape, -1)
