"""Which tokens of a range of the KV cache a row of an attention micro-kernel sees. Knows no scores."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.jit.ir import I32, I64, Function, Value

RANGE_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Sight:
    """`f`: has arguments `positions`, i32 of each row, and `start`, the range's first token. `window`: see emit."""

    f: Function
    window: int | None

    def position(self, row: Value) -> Value:
        return self.f.cast("sext", self.f.load(I32, self.f["positions"], row << 2, align=4), I64)

    def visible(self, row: Value) -> Value:
        """How many tokens of the range are not after the row: 0..128."""
        f = self.f
        visible = f.call("llvm.smax.i64", I64, self.position(row) - f["start"] + 1, f.const(I64, 0))
        return f.call("llvm.smin.i64", I64, visible, f.const(I64, RANGE_TOKENS))

    def forgotten(self, row: Value) -> Value:
        """How many are before the row's window: from 0 to more than there are."""
        f = self.f
        assert self.window is not None
        before = self.position(row) - f["start"] + (1 - self.window)
        return f.call("llvm.smax.i64", I64, before, f.const(I64, 0))

    def seen(self, row: Value) -> Value:
        """Up to where in the range the row sees tokens; 0 if its window has none of them."""
        f, visible = self.f, self.visible(row)
        if self.window is None:
            return visible
        return f.select(f.compare("slt", self.forgotten(row), visible), visible, f.const(I64, 0))
