"""What instruction sets do for the plane tiles: the verbs, and those of sums in int32. Knows no loop and no layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from kernels.families.block32.portable import Portable
from kernels.families.planes.code import PlaneCode
from kernels.jit.ir import F32, I8, I16, I32, Function, Value, vector

Entry: TypeAlias = Callable[[str], Value]
"""What of a column has this name: operand0 ..., scale, minimum; of super-blocks sub0 ..., owed0 ..., mins0 ..."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum while it is written: `parts` in flight and what `total` is joined of them."""

    total: Value | None = None
    parts: tuple[Value, ...] = ()
    count: int = 0


class Verbs(Protocol):
    """`lanes`: 32-bit lanes of a vector. `vectors` share a panel's columns. `rows`: of one operand of the LHS."""

    @property
    def lanes(self) -> int: ...

    @property
    def vectors(self) -> int: ...

    @property
    def rows(self) -> int: ...

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        """Of a GEMM's operands, which are unpacked once for many rows: weights, or those times their scales per 16."""

    def owed(self, code: PlaneCode) -> int:
        """What operands exceed the weights by, to be mended by the sums of the LHS; 0: operands are the weights."""

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value: ...

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        """A scalar of the LHS for each of `count` units of rows, as it meets a vector of columns."""

    def operands(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        """A group of the LHS for each of `count` units of rows."""

    def single_row(self, f: Function, pointer: Value, group_offset: Callable[[int], int]) -> list[Value]:
        """The 8 operands of one row, for a GEMV."""

    def lookup(self, f: Function, codes: Value, table: Sequence[int]) -> Value: ...

    def by_vector(self, f: Function, columns: Value) -> list[Value]:
        """A vector of the panel's columns as each of its vectors needs it."""

    def by_row(self, f: Function, unit: Sequence[Value]) -> list[Value]:
        """The vectors of a unit of rows as rows of columns; its own inverse."""

    def sub_scale(self, f: Function, ints: Value) -> Value:
        """i32[nr] -> a factor of `end_scale`."""

    def sub_scales(self, f: Function, pairs: Value) -> tuple[Value, Value]:
        """i16[2 nr], two a column -> factors of the halves."""

    def owed_of_bias(self, f: Function, code: PlaneCode, bias: Value) -> Value:
        """i32: what a block's sum starts from, from the bias field of qsi8d32."""

    def start(self, f: Function, code: PlaneCode, owed: Value | None) -> Sum:
        """A new sum. owed: i32, what is to be added to the products in the end, by their scales if they have any."""

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        """Adds one operand's products. factor: of the byte scale over them, if there is one."""

    def end_scale(self, f: Function, code: PlaneCode, total: Sum, factor: Value | None) -> Sum:
        """After the last products under one byte scale, or of a block without any."""

    def finish(self, f: Function, code: PlaneCode, total: Sum) -> Value:
        """i32"""

    def pair_dots(self, f: Function, total: Value | None, pairs: Sequence[tuple[Value, Value]]) -> Value:
        """Lanes of two i16 each: `total` and the products of all pairs, i32."""

    def pinned(self, f: Function, total: Sum) -> Sum:
        """Keeps the order written, where LLVM's own needs more registers than there are."""


@dataclass(frozen=True, slots=True)
class IntegerVerbs:
    """Dot products that add to i32: a half's sum is multiplied with its scale when it ends. Columns are lanes."""

    lanes: int
    vectors: int = 1
    rows: int = 1

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        return code

    def owed(self, code: PlaneCode) -> int:
        return 0

    def by_vector(self, f: Function, columns: Value) -> list[Value]:
        return [columns]

    def by_row(self, f: Function, unit: Sequence[Value]) -> list[Value]:
        return list(unit)

    def sub_scale(self, f: Function, ints: Value) -> Value:
        return ints

    def sub_scales(self, f: Function, pairs: Value) -> tuple[Value, Value]:
        return halves_of_pairs(f, f.cast("bitcast", pairs, vector(self.lanes, I32)))

    def owed_of_bias(self, f: Function, code: PlaneCode, bias: Value) -> Value:
        raise AssertionError("operands are the weights")

    def start(self, f: Function, code: PlaneCode, owed: Value | None) -> Sum:
        first = f.zero(vector(self.lanes, I32)) if owed is None else owed
        return Sum(total=first) if code.sub else Sum(parts=self.parts(f, first))

    def parts(self, f: Function, first: Value | None = None) -> tuple[Value, ...]:
        """What products are added to; `first`: the first part's start."""
        return (f.zero(vector(self.lanes, I32)) if first is None else first,)

    def end_scale(self, f: Function, code: PlaneCode, total: Sum, factor: Value | None) -> Sum:
        if not code.sub:
            return total
        assert total.total is not None
        assert factor is not None
        return Sum(total.total + self.joined(f, total.parts) * factor)

    def finish(self, f: Function, code: PlaneCode, total: Sum) -> Value:
        return total.total if total.total is not None else self.joined(f, total.parts)

    def joined(self, f: Function, parts: Sequence[Value]) -> Value:
        (part,) = parts
        return part

    def pair_dots(self, f: Function, total: Value | None, pairs: Sequence[tuple[Value, Value]]) -> Value:
        for left, right in pairs:
            (a, b), (c, d) = halves_of_pairs(f, left), halves_of_pairs(f, right)
            total = a * c + b * d if total is None else total + a * c + b * d
        assert total is not None
        return total

    def pinned(self, f: Function, total: Sum) -> Sum:
        return total


@dataclass(frozen=True, slots=True)
class PlanePortable(IntegerVerbs):
    """LLVM's own vector operations: the bit-exact oracle."""

    lanes: int = 8

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return Portable(self.lanes).half_to_float(f, pointer, offset)

    def spread(self, f: Function, element: str, pointer: Value, offset: int, count: int) -> list[Value]:
        return Portable(self.lanes).spread(f, element, pointer, offset, count)

    def operands(self, f: Function, pointer: Value, offset: int, count: int) -> list[Value]:
        return [f.cast("bitcast", v, vector(4 * self.lanes, I8)) for v in self.spread(f, I32, pointer, offset, count)]

    def single_row(self, f: Function, pointer: Value, group_offset: Callable[[int], int]) -> list[Value]:
        return [self.operands(f, pointer, group_offset(g), 1)[0] for g in range(8)]

    def lookup(self, f: Function, codes: Value, table: Sequence[int]) -> Value:
        found = f.const(codes.type, table[0])
        for index, value in enumerate(table[1:], 1):
            found = f.select(f.compare("eq", codes, index), f.const(codes.type, value), found)
        return found

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        (part,) = total.parts or self.parts(f)
        for k in range(4):
            column = [4 * lane + k for lane in range(self.lanes)]
            left, right = (f.cast("sext", f.shuffle(v, column), part.type) for v in (weights, lhs))
            part = part + left * right
        return replace(total, parts=(part,))


def halves_of_pairs(f: Function, pairs: Value) -> tuple[Value, Value]:
    """Lanes of two i16 -> the lower ones, the upper ones, as i32."""
    return arithmetic_shift(f, pairs << 16), arithmetic_shift(f, pairs)


def arithmetic_shift(f: Function, value: Value) -> Value:
    """16 bits to the right, the sign kept."""
    return f.emit(value.type, f"ashr {value.type} {value.name}, {f.const(value.type, 16).name}")


def constant_vector(f: Function, element: str, values: Sequence[int]) -> Value:
    lanes = ", ".join(f"{element} {value}" for value in values)
    return Value(f, vector(len(values), element), f"<{lanes}>")


def table_vector(f: Function, table: Sequence[int], num_bytes: int) -> Value:
    """The 16 bytes of a table, repeated."""
    return constant_vector(f, I8, [(value + 128) % 256 - 128 for value in table] * (num_bytes // len(table)))


def as_pairs(f: Function, value: Value, lanes: int) -> Value:
    return f.cast("bitcast", value, vector(2 * lanes, I16))


def floats(lanes: int) -> str:
    return vector(lanes, F32)
