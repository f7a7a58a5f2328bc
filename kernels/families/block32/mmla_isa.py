"""The verbs of matrix-product tiles: NEON's 128-bit vectors, and SVE's at one vector length.

A vector of a panel holds two columns x 8 elements for each 128 bits, a sum 2 x 2 of int32 for each; rows of the LHS
come in pairs, repeated in every 128 bits. A panel is two such vectors wide: 4 columns at 128 bits, 8 at 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernels.jit.constants import MemoryConstants
from kernels.jit.ir import F16, F32, I8, I32, I64, Function, Value, vector
from kernels.jit.scalable import first_lanes, load_repeated, scalable, store_lanes, vscale_range, zip_


class MmlaIsa(Protocol):
    """`attributes`: of the function, beside the rung's features."""

    @property
    def vector_bytes(self) -> int: ...

    @property
    def attributes(self) -> tuple[str, ...]: ...

    @property
    def floats(self) -> str: ...

    @property
    def ints(self) -> str: ...

    @property
    def bytes(self) -> str: ...

    def constants(self, f: Function, values: Sequence[int], copies: int) -> MemoryConstants: ...

    def pair_of_rows(self, f: Function, type_: str, pointer: Value, offset: int) -> Value:
        """16 bytes: a row pair's 8 elements each, or its scalars, each twice."""

    def eight(self, f: Function, pointer: Value, offset: int) -> Value:
        """8 elements of the only row beside every column."""

    def halves(self, f: Function, pointer: Value, offset: int) -> Value:
        """One f16 a column of the panel as f32."""

    def beside_products(self, f: Function, columns: Value) -> list[Value]:
        """One f32 a column -> as the 2x2 products of the panel's two vectors lie."""

    def mmla(self, f: Function, total: Value, rows: Value, weights: Value) -> Value: ...

    def dot(self, f: Function, total: Value, weights: Value, row: Value) -> Value: ...

    def join(self, f: Function, left: Value, right: Value) -> Value:
        """int32 sums of neighbours, over both vectors: one a column."""

    def rows(self, f: Function, left: Value, right: Value) -> list[Value]:
        """2x2 products of the panel's two vectors -> its two rows."""

    def store(self, f: Function, value: Value, out: Value, left: Value) -> None:
        """At most `left` columns."""


@dataclass(frozen=True, slots=True)
class NeonMmla:
    """smmla and sdot on 128 bits."""

    vector_bytes: int = 16
    attributes: tuple[str, ...] = ()
    floats: str = vector(4, F32)
    ints: str = vector(4, I32)
    bytes: str = vector(16, I8)

    def constants(self, f: Function, values: Sequence[int], copies: int) -> MemoryConstants:
        return MemoryConstants(f, values, self.vector_bytes, copies)

    def pair_of_rows(self, f: Function, type_: str, pointer: Value, offset: int) -> Value:
        return f.load(type_, pointer, offset, align=4)

    def eight(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("bitcast", f.splat(f.load(I64, pointer, offset), vector(2, I64)), self.bytes)

    def halves(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(4, F16), pointer, offset), self.floats)

    def beside_products(self, f: Function, columns: Value) -> list[Value]:
        return [f.shuffle(columns, mask) for mask in ((0, 1, 0, 1), (2, 3, 2, 3))]

    def mmla(self, f: Function, total: Value, rows: Value, weights: Value) -> Value:
        return f.call("llvm.aarch64.neon.smmla.v4i32.v16i8", self.ints, total, rows, weights)

    def dot(self, f: Function, total: Value, weights: Value, row: Value) -> Value:
        return f.call("llvm.aarch64.neon.sdot.v4i32.v16i8", self.ints, total, weights, row)

    def join(self, f: Function, left: Value, right: Value) -> Value:
        return f.call("llvm.aarch64.neon.addp.v4i32", self.ints, left, right)

    def rows(self, f: Function, left: Value, right: Value) -> list[Value]:
        return [f.shuffle(left, mask, right) for mask in ((0, 1, 4, 5), (2, 3, 6, 7))]

    def store(self, f: Function, value: Value, out: Value, left: Value) -> None:
        f.store_columns(out, [value], left)


@dataclass(frozen=True, slots=True)
class SveMmla:
    """The same instructions of SVE: each 128-bit segment multiplies for itself."""

    vector_bytes: int
    floats: str = scalable(4, F32)
    ints: str = scalable(4, I32)
    bytes: str = scalable(16, I8)

    @property
    def attributes(self) -> tuple[str, ...]:
        return (vscale_range(8 * self.vector_bytes),)

    def constants(self, f: Function, values: Sequence[int], copies: int) -> MemoryConstants:
        return MemoryConstants(f, values, self.vector_bytes, copies)

    def pair_of_rows(self, f: Function, type_: str, pointer: Value, offset: int) -> Value:
        return load_repeated(f, type_, pointer, offset)

    def eight(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("bitcast", f.splat(f.load(I64, pointer, offset), scalable(2, I64)), self.bytes)

    def halves(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(scalable(4, F16), pointer, offset), self.floats)

    def beside_products(self, f: Function, columns: Value) -> list[Value]:
        pairs = f.cast("bitcast", columns, scalable(2, I64))
        return [f.cast("bitcast", zip_(f, which, pairs, pairs), self.floats) for which in ("zip1", "zip2")]

    def mmla(self, f: Function, total: Value, rows: Value, weights: Value) -> Value:
        return f.call("llvm.aarch64.sve.smmla.nxv4i32", self.ints, total, rows, weights)

    def dot(self, f: Function, total: Value, weights: Value, row: Value) -> Value:
        return f.call("llvm.aarch64.sve.sdot.nxv4i32", self.ints, total, weights, row)

    def join(self, f: Function, left: Value, right: Value) -> Value:
        return zip_(f, "uzp1", left, right) + zip_(f, "uzp2", left, right)

    def rows(self, f: Function, left: Value, right: Value) -> list[Value]:
        pairs = [f.cast("bitcast", v, scalable(2, I64)) for v in (left, right)]
        return [f.cast("bitcast", zip_(f, which, *pairs), self.floats) for which in ("uzp1", "uzp2")]

    def store(self, f: Function, value: Value, out: Value, left: Value) -> None:
        store_lanes(f, value, out, first_lanes(f, left))
