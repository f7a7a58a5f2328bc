"""A range of the KV cache as f32 on the stack, for many rows: elements are made floats once, not once for each tile.

Every KV type but i16, which is not widened, is exact as f32, so no bit depends on who widens. The room has a block of
the cache after the other, laid out as a cache of f32 would be. Knows no rows and no sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.cached import CachedReads
from kernels.attention.isa import Isa
from kernels.jit.ir import I64, Function, Value
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F32_KV, GROUP, SCALE_BYTES, KVType

CHUNK = 64  # elements of a turn, where there are no scales


@dataclass(frozen=True, slots=True)
class WidenedRange:
    f: Function
    isa: Isa
    kv: KVType
    head_dim: int
    room: Value

    @classmethod
    def reserve(cls, f: Function, isa: Isa, kv: KVType, head_dim: int, num_blocks: int) -> WidenedRange:
        return cls(f, isa, kv, head_dim, f.stack(num_blocks * F32_KV.head_bytes(head_dim)))

    def planes(self, index: Value) -> tuple[Value, Value]:
        """K^T f32[head_dim, 32] and V f32[32, head_dim] of the range's `index`th block."""
        key = self.f.offset(self.room, index * F32_KV.head_bytes(self.head_dim))
        return key, self.f.offset(key, F32_KV.plane_bytes(self.head_dim))

    def widen(self, index: Value, key: Value, value: Value, later: Value) -> None:
        """The range's `index`th block, whose planes are `key` and `value`; `later`: K of one to come, asked for."""
        for number, (source, target) in enumerate(zip((key, value), self.planes(index), strict=True)):
            ahead = self.f.offset(later, number * self.kv.plane_bytes(self.head_dim))
            if not self.kv.has_scales:
                self._elements(source, target, ahead)
            elif number == 0:
                self._scaled_keys(source, target, ahead)
            else:
                self._scaled_values(source, target, ahead)

    def _elements(self, source: Value, target: Value, ahead: Value) -> None:
        f, reads, size = self.f, self._reads, self.kv.element_bytes
        with f.loop(0, f.const(I64, BLOCK_TOKENS * self.head_dim), CHUNK) as first:
            self._reads.prefetch(f.offset(ahead, first * size), CHUNK * size)
            at, into = f.offset(source, first * size), f.offset(target, first << 2)
            for offset in range(0, CHUNK, self.isa.lanes):
                f.store(reads.elements(at, offset, None), into, 4 * offset, align=16)

    def _scaled_keys(self, source: Value, target: Value, ahead: Value) -> None:
        """Lanes are tokens: a group of head_dim has a vector of scales for each vector of tokens."""
        f, lanes = self.f, self.isa.lanes
        scales = f.offset(source, self.kv.element_plane_bytes(self.head_dim))
        with f.loop(0, f.const(I64, self.head_dim), GROUP) as first:
            of_group = f.offset(scales, first * (BLOCK_TOKENS * SCALE_BYTES // GROUP))
            stop = f.call("llvm.smin.i64", I64, first + GROUP, f.const(I64, self.head_dim))
            wide = [self.isa.halves(f, of_group, SCALE_BYTES * column) for column in range(0, BLOCK_TOKENS, lanes)]
            with f.loop(first, stop) as k:
                self._reads.prefetch(f.offset(ahead, k * BLOCK_TOKENS), BLOCK_TOKENS)
                at, into = f.offset(source, k * BLOCK_TOKENS), f.offset(target, k * (4 * BLOCK_TOKENS))
                for number, scale in enumerate(wide):
                    f.store(self._reads.elements(at, number * lanes, scale), into, 4 * number * lanes, align=16)

    def _scaled_values(self, source: Value, target: Value, ahead: Value) -> None:
        """Lanes are elements of a token: one scale for a group of them."""
        f, lanes, num_groups = self.f, self.isa.lanes, self.kv.num_groups(self.head_dim)
        scales = f.offset(source, self.kv.element_plane_bytes(self.head_dim))
        with f.loop(0, f.const(I64, BLOCK_TOKENS)) as token:
            self._reads.prefetch(f.offset(ahead, token * self.head_dim), self.head_dim)
            at, into = f.offset(source, token * self.head_dim), f.offset(target, token * (4 * self.head_dim))
            of_token = f.offset(scales, token * (SCALE_BYTES * num_groups))
            for group in range(num_groups):
                scale = f.splat(self.isa.half(f, f.offset(of_token, SCALE_BYTES * group)), self.isa.floats)
                for offset in range(GROUP * group, min(GROUP * (group + 1), self.head_dim), lanes):
                    f.store(self._reads.elements(at, offset, scale), into, 4 * offset, align=16)

    @property
    def _reads(self) -> CachedReads:
        return CachedReads(self.f, self.isa, self.kv, self.head_dim)
