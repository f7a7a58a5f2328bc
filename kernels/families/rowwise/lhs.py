"""qai8dxp: rows as int8 with one f32 scale and one zero point each. Layout, NumPy twin, emitter.

    panel of mr rows:
    | d: mr f32 | zero: mr i32 | bias: mr i32 | to a multiple of 16 B |
    | per block of 32: | bias: mr x 4 B, perhaps | 32/kr groups x mr rows x kr int8 |

    x = d * (q - zero), zero being the q of 0.0; bias = -8 x sum(q), of the row or of the block: what nibbles that are
    multiplied unsigned (q + 8) add too much

With `paired_bias` a block's bias is two i16, as in kernels.families.block32.lhs; with `padded` it fills 16 bytes, for
instruction sets that load four scalars at once. Codes keep to +-127, 254 steps and not 255: products of bytes are then
exact with every instruction of the ladder, AVX2's saturating one included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.block32.lhs_lanes import TINY
from kernels.jit.ir import Function, Value
from kernels.quant.blocks import BLOCK

STEPS = 254
MOST = 127


@dataclass(frozen=True, slots=True)
class Qai8dx:
    """One packed layout of the LHS."""

    mr: int
    kr: int
    has_bias: bool = True
    paired_bias: bool = False
    padded: bool = False

    @property
    def layout_id(self) -> str:
        bias = "" if not self.has_bias else "s" if self.paired_bias else "b"
        return f"qai8dxp{self.mr}x{self.kr}{bias}" + ("p" if self.padded else "")

    @property
    def pack_name(self) -> str:
        return f"lhs_quant_pack_{self.layout_id}_f32"

    @property
    def zero_offset(self) -> int:
        return 4 * self.mr

    @property
    def bias_offset(self) -> int:
        """Of the rows' biases."""
        return 8 * self.mr

    @property
    def header_bytes(self) -> int:
        return -(-12 * self.mr // 16) * 16

    @property
    def quants_offset(self) -> int:
        """In a block."""
        return 0 if not self.has_bias else 16 if self.padded else 4 * self.mr

    @property
    def part_elements(self) -> int:
        return BLOCK

    @property
    def part_bytes(self) -> int:
        return 0

    @property
    def block_bytes(self) -> int:
        return self.quants_offset + BLOCK * self.mr

    def group_offset(self, group: int) -> int:
        """Where the kr-wide group of the panel's rows begins in a block."""
        return self.quants_offset + group * self.mr * self.kr

    def word_offset(self, row: int, word: int) -> int:
        """Where a row's elements 4 x word to 4 x word + 3 begin in a block, for kr = 4."""
        return self.group_offset(word) + 4 * row

    def block_offset(self, block: int) -> int:
        """From a turn's first block to another one of it."""
        return block * self.block_bytes

    @property
    def runs(self) -> tuple[int, ...]:
        """Where a row's runs of consecutive elements begin in a block, `lane` x kr left out."""
        size = BLOCK if self.mr == 1 else self.kr
        return tuple(self.quants_offset + at * self.mr for at in range(0, BLOCK, size))

    def panel_bytes(self, k: int) -> int:
        return self.header_bytes + k // BLOCK * self.block_bytes

    def emit_panel_bytes(self, num_blocks: Value) -> Value:
        return num_blocks * self.block_bytes + self.header_bytes

    def emit_block(self, f: Function, panel: Value, index: Value) -> Value:
        return f.offset(panel, index * self.block_bytes + self.header_bytes)

    def emit_bias(self, f: Function, block: Value, lane: Value) -> Value:
        """Where a row's bias lies in a block."""
        return f.offset(block, lane << 2)

    def pack(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """x: f32[M, K] -> u8[ceil(M / mr), panel bytes]; rows past M are zeros."""
        num_panels = -(-x.shape[0] // self.mr)
        rows = np.zeros((num_panels * self.mr, x.shape[1]), np.float32)
        rows[: x.shape[0]] = x
        d, zero, q = quantise(rows)
        sums = q.reshape(q.shape[0], -1, BLOCK).sum(-1, dtype=np.int32)
        packed = np.zeros((num_panels, self.panel_bytes(x.shape[1])), np.uint8)
        scalars = [d.view(np.int32), zero, -8 * sums.sum(-1, dtype=np.int32)]
        for field, values in enumerate(scalars):
            at = 4 * self.mr * field
            packed[:, at : at + 4 * self.mr] = values.reshape(num_panels, self.mr).view(np.uint8)
        self._pack_blocks(packed[:, self.header_bytes :], q, sums)
        return packed

    def _pack_blocks(self, packed: npt.NDArray[np.uint8], q: npt.NDArray[np.int8], sums: npt.NDArray[np.int32]) -> None:
        """q: int8[M, K], sums: int32[M, K/32] -> packed: u8[panels, bytes after the header]"""
        num_panels = packed.shape[0]
        blocks = packed.reshape(num_panels, -1, self.block_bytes)
        if self.has_bias:
            bias = self._biases(q, sums).reshape(num_panels, self.mr, -1).transpose(0, 2, 1)
            blocks[..., : 4 * self.mr] = np.ascontiguousarray(bias).view(np.uint8)
        groups = q.reshape(num_panels, self.mr, -1, BLOCK // self.kr, self.kr).transpose(0, 2, 3, 1, 4)
        blocks[..., self.quants_offset :] = np.ascontiguousarray(groups).view(np.uint8).reshape(*blocks.shape[:2], -1)

    def _biases(self, q: npt.NDArray[np.int8], sums: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """int32[M, K/32], the four bytes of each block."""
        if not self.paired_bias:
            return np.asarray(-8 * sums, np.int32)
        pairs = q.reshape(q.shape[0], -1, 8, 2, 2).sum((2, 4), dtype=np.int32)
        return np.ascontiguousarray((-8 * pairs).astype(np.int16)).view(np.int32)[..., 0]


def quantise(
    x: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int8]]:
    """x: f32[M, K] -> d f32[M], zero int32[M], q int8[M, K]. The range holds 0; halves go to even."""
    least, most = np.minimum(x.min(axis=-1), np.float32(0)), np.maximum(x.max(axis=-1), np.float32(0))
    # Halves, so that rows up to the largest float have a range.
    half = most * np.float32(0.5) - least * np.float32(0.5)
    live = half >= np.float32(TINY)
    d = np.where(live, half / np.float32(STEPS / 2), np.float32(0))
    inverse = np.divide(np.float32(STEPS / 2), half, out=np.zeros_like(half), where=live)
    zero = np.rint(np.float32(-MOST) - least * inverse)
    q = np.clip(np.rint(x * inverse[:, None]) + zero[:, None], np.float32(-MOST), np.float32(MOST))
    zero = np.where(live, zero, np.float32(0))
    q = np.where(live[:, None], q, np.float32(0))
    return d, zero.astype(np.int32), q.astype(np.int8)
