"""What the row-wise layouts share: how long the parts of a panel are. Packs nothing.

A panel of nr columns has a header (a scale and a sum a channel, or a sum where a group has its scale), then turns: a
group of K with its scales, or a block of 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels.families.rowwise.code import RowCode
from kernels.quant.blocks import BLOCK


@dataclass(frozen=True, slots=True)
class RowPanel:
    code: RowCode

    if TYPE_CHECKING:

        @property
        def nr(self) -> int:
            """Columns: a field or a property of the layout itself."""

    @property
    def header_bytes(self) -> int:
        return self.nr * (8 if self.code.group is None else 4)

    @property
    def sum_offset(self) -> int:
        """Of the channels' sums; the scales stand before."""
        return 4 * self.nr

    @property
    def turn(self) -> int:
        """Elements of K in one turn of the loop: a group, or a block."""
        return self.code.group or BLOCK

    @property
    def scale_bytes(self) -> int:
        """Of one turn."""
        return 0 if self.code.group is None else 2 * self.nr

    @property
    def block_bytes(self) -> int:
        """Quants of 32 elements of K."""
        return self.nr * (BLOCK // 2 if self.code.is_nibble else BLOCK)

    @property
    def turn_bytes(self) -> int:
        return self.scale_bytes + self.turn // BLOCK * self.block_bytes

    def panel_bytes(self, k: int) -> int:
        return self.header_bytes + k // self.turn * self.turn_bytes
