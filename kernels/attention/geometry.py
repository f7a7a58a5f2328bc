"""The sizes of an attention micro-kernel's tile, and what follows of them for its registers. Emits nothing."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.isa import Isa
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, F32_KV, KVType

HEIGHTS_LEFT = (10, 9, 8, 6, 4, 3, 2, 1)
"""Of groups of rows left over. Any number below a tile's rows is one of these, or one of these and 1. A chunk of a
prompt beside running streams is a few tokens, times 3 query heads a tile and a half: of 18 rows, 6 are left over."""


@dataclass(frozen=True, slots=True)
class TileGeometry:
    """`rows` query rows by `vectors` vectors of tokens (scores) or of head_dim elements (output).

    is_wide: the range is made floats before, for many rows.
    """

    name: str
    head_dim: int
    rows: int
    isa: Isa
    features: str
    window: int | None = None
    soft_cap: float | None = None
    kv: KVType = F16_KV
    is_wide: bool = False

    @property
    def operands(self) -> KVType:
        """The type that the products read."""
        return F32_KV if self.is_wide else self.kv

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows of the groups that code is written for: whole ones, then those of rows left over."""
        return (self.rows, *(rows for rows in HEIGHTS_LEFT if rows < self.rows))

    @property
    def columns(self) -> int:
        """Tokens that a whole tile of scores covers."""
        return self.vectors(self.rows, BLOCK_TOKENS) * self.isa.lanes

    def vectors(self, rows: int, columns: int) -> int:
        """How many vectors wide a tile of `rows` is when `columns` elements are to be covered.

        Scales wait in registers too, one for a vector; two fit beside the sums.
        """
        wide, held = 1, 1 if self.operands.has_scales else 0
        while 2 * wide * self.isa.lanes <= columns:
            if 2 * wide * (rows + held) - 2 * held > self.isa.accumulators:
                break
            wide *= 2
        return wide
