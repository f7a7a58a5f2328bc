"""What packs of activations compute in lanes, whatever a lane is: a block, a row. Knows no layout."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from kernels.jit.ir import I32, Function, Value, vector
from kernels.jit.ir_types import num_lanes

TINY = 2.0**-100  # what stays below is packed as zeros: 127 / amax would overflow

Join: TypeAlias = Callable[[Function, Value, Value], Value]


def plus(f: Function, left: Value, right: Value) -> Value:
    return left + right


def fold(f: Function, parts: Sequence[Value], join: Join) -> Value:
    """Neighbours among the lanes joined as often as it takes to leave one vector, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    joined = [join(f, *neighbours(f, low, high)) for low, high in zip(parts[::2], parts[1::2], strict=True)]
    return fold(f, joined, join)


def neighbours(f: Function, low: Value, high: Value) -> tuple[Value, Value]:
    """The even and the odd lanes of both, side by side."""
    lanes = range(2 * num_lanes(low.type))
    return f.shuffle(low, lanes[::2], high), f.shuffle(low, lanes[1::2], high)


def scales(f: Function, amax: Value) -> tuple[Value, Value]:
    """(d, what elements are multiplied with), of one or of each lane"""
    live, most, zero = f.compare("oge", amax, f.const(amax.type, TINY)), f.const(amax.type, 127), f.zero(amax.type)
    return f.select(live, f.divide(amax, most), zero), f.select(live, f.divide(most, amax), zero)


def quantised(f: Function, parts: Sequence[Value], inverse: Value) -> list[Value]:
    """f32[n] x inverse f32[n], rounded -> i32[n], of each part."""
    type_ = vector(num_lanes(inverse.type), I32)
    rint = f"llvm.rint.v{num_lanes(inverse.type)}f32"
    return [f.cast("fptosi", f.call(rint, inverse.type, part * inverse), type_) for part in parts]


def minus_eight(f: Function, total: Value) -> Value:
    return f.zero(total.type) - (total << 3)


def two_i16(low: Value, high: Value) -> Value:
    """i32 lanes that hold both."""
    return (low & 0xFFFF) | (high << 16)
