"""What panels of int8 rows with scalar fields have in common: qsi8d32 and qsi8d256. Packs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

ALIGNMENT = 16  # of the elements: a vector that lies in two cache lines takes two to be stored


@dataclass(frozen=True, slots=True)
class IntegerPanel:
    """`mr` rows in groups of `kr` elements; each scalar stands `repeat` times."""

    mr: int
    kr: int
    repeat: int = field(default=1, kw_only=True)
    scheme: ClassVar[str]
    num_scalars: ClassVar[int]

    @property
    def layout_id(self) -> str:
        return f"{self.scheme}p{self.mr}x{self.kr}" + ("r" if self.repeat > 1 else "")

    @property
    def pack_name(self) -> str:
        return f"lhs_quant_pack_{self.layout_id}_f32"

    @property
    def scalars_bytes(self) -> int:
        """Of one scalar field."""
        return 4 * self.mr * self.repeat

    @property
    def header_bytes(self) -> int:
        """Of all scalar fields, up to the elements."""
        return -(-self.num_scalars * self.scalars_bytes // ALIGNMENT) * ALIGNMENT

    @property
    def quants_offset(self) -> int:
        """In a block."""
        return 0

    def group_offset(self, group: int) -> int:
        """Where the kr-wide group of the panel's rows begins in a block."""
        return self.quants_offset + group * self.mr * self.kr

    def word_offset(self, row: int, word: int) -> int:
        """Where a row's elements 4 x word to 4 x word + 3 begin in a block, for kr >= 4."""
        group, rest = divmod(4 * word, self.kr)
        return self.group_offset(group) + row * self.kr + rest
