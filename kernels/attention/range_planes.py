"""Where the keys and values of a range lie that an attention micro-kernel multiplies: in the cache, or widened.

For few rows they are read where they are and made floats on the way, once for each group of rows; only the scales of a
range are made floats before. For many rows all of it is (kernels.attention.widened). Knows no rows.
"""

from __future__ import annotations

from kernels.attention.cached import CachedReads
from kernels.attention.isa import Isa
from kernels.attention.sight import RANGE_TOKENS, Sight
from kernels.attention.widened import WidenedRange
from kernels.jit.ir import I32, I64, PTR, Function, Value
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import KVType

RANGE_BLOCKS = RANGE_TOKENS // BLOCK_TOKENS


def num_blocks(tokens: Value) -> Value:
    return (tokens + (BLOCK_TOKENS - 1)) >> (BLOCK_TOKENS.bit_length() - 1)


class RangePlanes:
    """`f`: an attention micro-kernel with the arguments that kernels.attention.emit draws.

    scales: of the blocks, as f32, if the cache has any and the range is not widened. token_scales: f32[128], those of
    the range's values if they are multiplied as integers; 0 for tokens that no row sees.
    """

    def __init__(self, f: Function, isa: Isa, kv: KVType, head_dim: int, sight: Sight, is_wide: bool) -> None:
        self._f, self._kv, self._head_dim, self._sight = f, kv, head_dim, sight
        self._reads = CachedReads(f, isa, kv, head_dim)
        self._wide = WidenedRange.reserve(f, isa, kv, head_dim, RANGE_BLOCKS) if is_wide else None
        self.scales = None if is_wide else self._reads.room_for_scales(RANGE_BLOCKS)
        self.token_scales = f.stack(4 * RANGE_TOKENS) if kv.in_pairs else None
        self._first_block = f["start"] >> 5

    def emit_widening(self) -> None:
        """Of the blocks that the last row sees; and their tokens' scales."""
        f = self._f
        if self.scales is None and self._wide is None and self.token_scales is None:
            return
        with f.loop(0, self._num_blocks()) as index:
            planes = self._cached(self._first_block + index)
            if self._wide is not None:
                self._wide.widen(index, *planes, self.ahead(index << 1))
            elif self.scales is not None:
                self._reads.widen_scales(self.scales, index, *planes)
            elif self.token_scales is not None:
                seen = self._sight.visible(f["num_rows"] - 1) - index * BLOCK_TOKENS
                self._reads.copy_token_scales(f.offset(self.token_scales, index * (4 * BLOCK_TOKENS)), planes[1], seen)

    def block(self, index: Value) -> tuple[Value, Value]:
        """K^T and V of the range's `index`th block."""
        return self._cached(self._first_block + index) if self._wide is None else self._wide.planes(index)

    def ahead(self, index: Value) -> Value:
        """The `index`th plane of what is read soon."""
        f = self._f
        key = f.load(PTR, f["ahead"], (index >> 1) << 3, align=8)
        return f.offset(key, (index & 1) * self._kv.plane_bytes(self._head_dim))

    def ask_for_rest(self) -> None:
        """For planes ahead that have no fellow among those of the range."""
        f = self._f
        with f.loop(self._num_blocks() << 1, f.const(I64, 2 * RANGE_BLOCKS)) as index:
            self._reads.prefetch(self.ahead(index), self._kv.plane_bytes(self._head_dim))

    def _num_blocks(self) -> Value:
        """That the last row sees."""
        return num_blocks(self._sight.visible(self._f["num_rows"] - 1))

    def _cached(self, number: Value) -> tuple[Value, Value]:
        """Of the sequence's block."""
        f = self._f
        block = f.cast("sext", f.load(I32, f["block_table"], number << 2, align=4), I64)
        key = f.offset(f["kv"], block * f["block_stride"])
        return key, f.offset(key, self._kv.plane_bytes(self._head_dim))
