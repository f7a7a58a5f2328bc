"""Packed weights of the row-wise families. Layout and NumPy packing, no arithmetic.

    panel of nr columns, a scale a channel:
    | s: nr f32 | sum of the codes: nr i32 |          then per block of 32 the quants
    panel of nr columns, a scale a group:
    | t: nr f32, see reference |                      then per group | s: nr f16 | and its blocks' quants
    quants: 16/kr or 32/kr groups x nr columns x kr B

A nibble byte holds k below and k + 16 above. Columns past N are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.rowwise.panel import RowPanel
from kernels.families.rowwise.reference import channel_sums, scaled_sums


@dataclass(frozen=True, slots=True)
class RowRhs(RowPanel):
    """One packed layout. flip_sign: int8 plus 128, unsigned; nibbles minus 8, as two's complement."""

    nr: int
    kr: int
    flip_sign: bool = False

    @property
    def layout_id(self) -> str:
        flipped = ("s" if self.code.is_nibble else "u") if self.flip_sign else ""
        return f"{self.code.name}p{self.nr}x{self.kr}{flipped}h"  # with a header: block32 has a qsi4c32p of its own

    @property
    def needs_bias(self) -> bool:
        """Weights that are multiplied unsigned owe -8 (nibbles) or -128 (bytes) x sum(lhs)."""
        return self.code.is_nibble != self.flip_sign

    @property
    def num_groups(self) -> int:
        """Groups of kr bytes a column and block."""
        return self.block_bytes // self.nr // self.kr

    def group_offset(self, block: int, group: int) -> int:
        """In a turn."""
        return self.scale_bytes + block * self.block_bytes + group * self.nr * self.kr

    def pack(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """raw: u8[N, row bytes] in the source format -> u8[ceil(N / nr), panel bytes]"""
        source, nr = self.code.source, self.nr
        num_panels = -(-raw.shape[0] // nr)
        scales, stored = source.split(raw)
        codes = source.codes(stored)
        k = codes.shape[1]
        packed = np.zeros((num_panels, self.panel_bytes(k)), np.uint8)
        turns = packed[:, self.header_bytes :].reshape(num_panels, k // self.turn, self.turn_bytes)
        if self.code.group is None:
            packed[:, : 4 * nr] = self._by_panel(scales[:, 0])
            packed[:, 4 * nr : 8 * nr] = self._by_panel(channel_sums(codes))
        else:
            packed[:, : 4 * nr] = self._by_panel(scaled_sums(self.code, scales, codes))
            halves = np.zeros((num_panels * nr, scales.shape[1]), np.float16)
            halves[: raw.shape[0]] = scales
            columns = halves.reshape(num_panels, nr, -1).transpose(0, 2, 1)
            turns[..., : 2 * nr] = np.ascontiguousarray(columns).view(np.uint8)
        rows = np.zeros((num_panels * nr, stored.shape[1]), np.uint8)
        rows[: raw.shape[0]] = stored
        if self.flip_sign:
            rows ^= np.uint8(0x88 if self.code.is_nibble else 0x80)
        groups = rows.reshape(num_panels, nr, k // self.turn, -1, self.kr).transpose(0, 2, 3, 1, 4)
        turns[..., self.scale_bytes :] = groups.reshape(num_panels, k // self.turn, -1)
        return packed

    def _by_panel(self, values: npt.NDArray[np.float32] | npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """[N] of 4 bytes each -> u8[panels, 4 nr]"""
        padded = np.zeros(-(-values.shape[0] // self.nr) * self.nr, values.dtype)
        padded[: values.shape[0]] = values
        return padded.reshape(-1, self.nr).view(np.uint8)
