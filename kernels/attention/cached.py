"""Reads keys and values in attention micro-kernels: vectors of floats, whatever type the cache keeps. Knows no sums.

Every type but i16, whose integers are multiplied as such, is exact as f32 (kernels.runtime.kv_types), so what
multiplies them knows no type. The scales of a range are made floats once, on the stack: for keys lanes are tokens, so a
vector of scales meets a vector of elements; for values one scale serves a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.isa import Isa
from kernels.jit.ir import F32, I8, I32, I64, Function, Value, vector
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import GROUP, SCALE_BYTES, KVType

LINE_BYTES = 64
CHUNK = 16  # a plane's scales are a multiple of so many


@dataclass(frozen=True, slots=True)
class Scales:
    """f32 of the blocks of a range, in the cache's order: keys [groups, 32], values [32, groups]."""

    keys: Value
    values: Value


@dataclass(frozen=True, slots=True)
class CachedReads:
    f: Function
    isa: Isa
    kv: KVType
    head_dim: int

    @property
    def scale_plane_bytes(self) -> int:
        """K's scales of a block, or V's, as f32."""
        return 4 * BLOCK_TOKENS * self.kv.num_groups(self.head_dim)

    def room_for_scales(self, num_blocks: int) -> Scales | None:
        if not self.kv.has_scales:
            return None
        size = num_blocks * self.scale_plane_bytes
        return Scales(self.f.stack(size), self.f.stack(size))

    def widen_scales(self, scales: Scales, index: Value, key: Value, value: Value) -> None:
        """Those of the range's `index`th block, whose planes are `key` and `value`."""
        f, plane = self.f, self.kv.element_plane_bytes(self.head_dim)
        num_scales = BLOCK_TOKENS * self.kv.num_groups(self.head_dim)
        for source, target in ((key, scales.keys), (value, scales.values)):
            source, into = f.offset(source, plane), f.offset(target, index * self.scale_plane_bytes)
            with f.loop(0, f.const(I64, num_scales), CHUNK) as first:
                at, to = f.offset(source, first << 1), f.offset(into, first << 2)
                for scale in range(0, CHUNK, self.isa.lanes):
                    f.store(self.isa.halves(f, at, SCALE_BYTES * scale), to, 4 * scale, align=4)

    def copy_token_scales(self, target: Value, value: Value, seen: Value) -> None:
        """f32[32] of the block whose V is `value`; 0 from the `seen`th on: what no row sees may be no number."""
        f, lanes = self.f, self.isa.lanes
        source = f.offset(value, self.kv.element_plane_bytes(self.head_dim))
        for token in range(0, BLOCK_TOKENS, lanes):
            scales = f.load(self.isa.floats, source, 4 * token, align=16)
            is_seen = f.compare("slt", self.isa.numbers(f, token), self.isa.splat(f, seen))
            f.store(f.select(is_seen, scales, f.zero(self.isa.floats)), target, 4 * token, align=16)

    def elements(self, at: Value, offset: int, scale: Value | None) -> Value:
        """As many as there are lanes, as f32; `offset` in elements."""
        f, lanes = self.f, self.isa.lanes
        if scale is not None:
            integers = f.cast("sext", f.load(vector(lanes, I8), at, offset), vector(lanes, I32))
            return f.cast("sitofp", integers, self.isa.floats) * scale
        if self.kv.element_bytes == 2:
            return self.isa.halves(f, at, 2 * offset)
        return f.load(self.isa.floats, at, 4 * offset, align=16)

    def key_scale(self, scales: Value, column: int) -> Value:
        """Of the tokens from `column` on; `scales`: of a group, at the tile's first token."""
        return self.f.load(self.isa.floats, scales, 4 * column, align=16)

    def value_scale(self, scales: Value, offset: int) -> Value:
        """Of a vector of elements; `scales`: of a token, at the tile's first group."""
        return self.f.splat(self.f.load(F32, scales, 4 * (offset // GROUP), align=4), self.isa.floats)

    def prefetch(self, ahead: Value, num_bytes: int) -> None:
        """Into L2: what is asked for meanwhile is more than L1 holds."""
        for line in range(0, num_bytes, LINE_BYTES):
            self.f.prefetch(ahead, line, locality=2)
