"""Row-wise weights packed for SME2: panels of whole streaming vectors of columns. Layout and packing, no arithmetic.

    panel of nr columns, a scale a channel:
    | s: nr f32 | sum of the codes: nr i32 |            then per block of 32 the quants
    panel of nr columns, a scale a group:
    | t: nr f32, see reference |                        then per group | s: nr f16 | and its blocks' quants
    quants: 8 groups x nr columns x 4 elements, nibbles following each other

As in kernels.families.block32.sme2_layout, of which the f16's order is, too: column c beside c + nr/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.block32.sme2_layout import KR, streaming_groups
from kernels.families.rowwise.panel import RowPanel
from kernels.families.rowwise.reference import channel_sums, scaled_sums
from kernels.quant.blocks import BLOCK


@dataclass(frozen=True, slots=True)
class StreamingRowRhs(RowPanel):
    """One packed layout, for one streaming vector length. `lanes`: 32-bit elements of a vector."""

    lanes: int
    kr: int = KR

    @property
    def vectors(self) -> int:
        """Of a panel. ZA has four tiles: sums of channels take one each; those of groups another to add up in."""
        return 4 if self.code.group is None else 2

    @property
    def nr(self) -> int:
        return self.vectors * self.lanes

    @property
    def layout_id(self) -> str:
        return f"{self.code.name}p{self.nr}x{self.kr}s1s0h"

    def pack(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """raw: u8[N, row bytes] in the source format -> u8[ceil(N / nr), panel bytes]; columns past N are zeros."""
        source, nr = self.code.source, self.nr
        scales, stored = source.split(raw)
        codes = source.codes(stored)
        k, missing = codes.shape[1], -raw.shape[0] % nr
        scales, codes = np.pad(scales, ((0, missing), (0, 0))), np.pad(codes, ((0, missing), (0, 0)))
        num_panels = codes.shape[0] // nr
        packed = np.zeros((num_panels, self.panel_bytes(k)), np.uint8)
        turns = packed[:, self.header_bytes :].reshape(num_panels, k // self.turn, self.turn_bytes)
        if self.code.group is None:
            packed[:, : 4 * nr] = scales[:, 0].reshape(num_panels, nr).view(np.uint8)
            packed[:, 4 * nr : 8 * nr] = channel_sums(codes).reshape(num_panels, nr).view(np.uint8)
        else:
            packed[:, : 4 * nr] = scaled_sums(self.code, scales, codes).reshape(num_panels, nr).view(np.uint8)
            halves = scales.astype(np.float16).reshape(num_panels, self.vectors, self.lanes, -1)
            paired = np.ascontiguousarray(halves.transpose(0, 3, 2, 1)).view(np.uint8)
            turns[..., : self.scale_bytes] = paired.reshape(num_panels, -1, self.scale_bytes)
        unsigned = (codes + np.int8(source.zero)).view(np.uint8).reshape(num_panels, nr, -1, BLOCK)
        groups = streaming_groups(unsigned, self.code.is_nibble)
        turns[..., self.scale_bytes :] = groups.reshape(num_panels, k // self.turn, -1)
        return packed
