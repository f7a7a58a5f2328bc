"""What instruction sets do for the plane tiles: the verbs, and those of sums in int32. Knows no loop and no layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from kernels.families.block32.portable import Portable
from kernels.families.planes.code import SUB16, PlaneCode
from kernels.jit.ir import F32, I8, I16, I32, Function, Value, vector

Entry: TypeAlias = Callable[[str], Value]
"""What of a column vector has this name: operand0 ..., scale, minimum, sub0, sub1, owed, mins."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A block's sum while it is written: `parts` in flight and what `total` is joined of them."""

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

    def sub_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        """pairs: i16[2 nr], two scales a column -> entries sub0, sub1 and what else `start` needs."""

    def start(self, f: Function, code: PlaneCode, entry: Entry, lhs: Value | None) -> Sum:
        """A new sum. `lhs`: where something is owed the bias field, or for scales per 16 the sums field."""

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, entry: Entry, half: int) -> Sum:
        """Adds one operand's products; `half` of the block."""

    def end_half(self, f: Function, code: PlaneCode, total: Sum, entry: Entry, half: int) -> Sum: ...

    def finish(self, f: Function, code: PlaneCode, total: Sum) -> Value:
        """i32"""

    def pair_dot(self, f: Function, left: Value, right: Value) -> Value:
        """Lanes of two i16 each: products added, i32."""

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

    def sub_scales(self, f: Function, code: PlaneCode, pairs: Value) -> dict[str, Value]:
        low, high = halves_of_pairs(f, f.cast("bitcast", pairs, vector(self.lanes, I32)))
        return {"sub0": low, "sub1": high}

    def start(self, f: Function, code: PlaneCode, entry: Entry, lhs: Value | None) -> Sum:
        return Sum()

    def end_half(self, f: Function, code: PlaneCode, total: Sum, entry: Entry, half: int) -> Sum:
        if code.sub != SUB16:
            return total
        scaled = self.joined(f, total.parts) * entry(f"sub{half}")
        return Sum(scaled if total.total is None else total.total + scaled)

    def finish(self, f: Function, code: PlaneCode, total: Sum) -> Value:
        return total.total if total.total is not None else self.joined(f, total.parts)

    def joined(self, f: Function, parts: Sequence[Value]) -> Value:
        (part,) = parts
        return part

    def pair_dot(self, f: Function, left: Value, right: Value) -> Value:
        (a, b), (c, d) = halves_of_pairs(f, left), halves_of_pairs(f, right)
        return a * c + b * d

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

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, entry: Entry, half: int) -> Sum:
        part = total.parts[0] if total.parts else f.zero(vector(self.lanes, I32))
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
