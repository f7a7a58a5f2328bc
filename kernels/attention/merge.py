"""Writes the micro-kernel that merges attention partials: one more range into the state of each row.

    void attention_merge(i64 num_rows, const f32 *partials, f32 *state)

Both are f32[num_rows, 16 + head_dim] as kernels.attention.partials lays them out; a fresh state is m = -inf, l = 0,
o = 0. Per row, with top = max(m, m'), a = 2^(m - top), b = 2^(m' - top): l = l a + l' b, o = o a + o' b, each with one
fused multiply-add. A partial that saw no token (l' = 0) leaves the row alone. Ranges are merged in ascending order, by
whoever does it: the bits do not depend on who computed them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.attention.isa import Isa
from kernels.attention.partials import PARTIAL_HEAD, partial_bytes
from kernels.jit.ir import F32, I64, PTR, Function, Value
from kernels.jit.vector_math import exp2, maximum

CHUNK = 16
"""Rows whose weights are computed at once: one by one, each waits for an exponential."""


@dataclass(frozen=True, slots=True)
class Merge:
    name: str
    head_dim: int
    isa: Isa
    features: str

    def emit(self) -> str:
        f = Function(self.name, [("num_rows", I64), ("partials", PTR), ("state", PTR)], self.features)
        keeps, takes, tops = (f.stack(4 * CHUNK) for _ in range(3))
        with f.loop(0, f["num_rows"], CHUNK) as first:
            count = f.call("llvm.smin.i64", I64, f["num_rows"] - first, f.const(I64, CHUNK))
            at = first * partial_bytes(self.head_dim)
            partials, states = f.offset(f["partials"], at), f.offset(f["state"], at)
            with f.loop(0, count) as row:
                at = row * partial_bytes(self.head_dim)
                for source, into in ((states, keeps), (partials, takes)):
                    f.store(f.load(F32, f.offset(source, at), align=4), f.offset(into, row << 2), align=4)
            self._weights(f, keeps, takes, tops)
            with f.loop(0, count) as row:
                at = row * partial_bytes(self.head_dim)
                partial, state = f.offset(partials, at), f.offset(states, at)
                weight = f.load(F32, partial, 4, align=4)
                with f.when(f.compare("une", weight, f.const(F32, 0))):
                    keep, take, top = (f.load(F32, f.offset(each, row << 2), align=4) for each in (keeps, takes, tops))
                    f.store(top, state, align=4)
                    f.store(f.fma(f.load(F32, state, 4, align=4), keep, weight * take), state, 4, align=4)
                    self._output(f, partial, state, keep, take)
        f.ret()
        return f.text()

    def _weights(self, f: Function, keeps: Value, takes: Value, tops: Value) -> None:
        """Both maxima of each row of the chunk, in place, to what its sums are multiplied with; the greater to `tops`.

        Of rows that are not there, too: nobody reads those.
        """
        floats, vector_bytes = self.isa.floats, 4 * self.isa.lanes
        with f.loop(0, f.const(I64, 4 * CHUNK), vector_bytes) as at:
            places = [f.offset(each, at) for each in (keeps, takes, tops)]
            here, there = (f.load(floats, place, align=16) for place in places[:2])
            top = maximum(f, here, there)
            for value, place in zip((exp2(f, here - top), exp2(f, there - top), top), places, strict=True):
                f.store(value, place, align=16)

    def _output(self, f: Function, partial: Value, state: Value, keep: Value, take: Value) -> None:
        floats, lanes = self.isa.floats, self.isa.lanes
        keeps, takes = f.splat(keep, floats), f.splat(take, floats)
        start = f.const(I64, 4 * PARTIAL_HEAD)
        with f.loop(start, f.const(I64, partial_bytes(self.head_dim)), 4 * lanes) as at:
            into = f.offset(state, at)
            f.store(f.fma(f.load(floats, into), keeps, f.load(floats, f.offset(partial, at)) * takes), into)
