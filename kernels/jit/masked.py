"""Vectors of 16 floats of which only the first lanes are in memory. Knows no kernel."""

from __future__ import annotations

from kernels.jit.ir import F32, I1, I32, VOID, Function, Value, vector

LANES = 16
FLOATS, INTS, MASK = vector(LANES, F32), vector(LANES, I32), vector(LANES, I1)


def first_lanes(f: Function, count: Value) -> Value:
    """count: i64 -> i1[16]: lanes before it. Negative counts have none."""
    indices = Value(f, INTS, "<" + ", ".join(f"i32 {lane}" for lane in range(LANES)) + ">")
    return f.compare("slt", indices, f.splat(f.cast("trunc", count, I32), INTS))


def load_lanes(f: Function, pointer: Value, mask: Value) -> Value:
    """The other lanes are 0."""
    return f.call("llvm.masked.load.v16f32.p0", FLOATS, pointer, f.const(I32, 4), mask, f.zero(FLOATS))


def store_lanes(f: Function, value: Value, pointer: Value, mask: Value) -> None:
    f.call("llvm.masked.store.v16f32.p0", VOID, value, pointer, f.const(I32, 4), mask)
