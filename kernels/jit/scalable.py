"""SVE's vocabulary over IR: types of unknown length, predicates, predicated loads and stores. Knows no kernel.

A kernel here is written for one vector length, told to LLVM by `vscale_range`, so offsets may be plain bytes.
"""

from __future__ import annotations

from kernels.jit.ir import F16, F32, I1, I8, I16, I32, I64, VOID, Function, Value, vector
from kernels.jit.ir_types import mangled, num_lanes

SEGMENT_BITS = 128
ELEMENT_BITS = {I8: 8, I16: 16, F16: 16, I32: 32, F32: 32}


def scalable(lanes: int, element: str) -> str:
    """`lanes` for each 128 bits of the vector: `scalable(4, F32)` is `<vscale x 4 x float>`."""
    return f"<vscale x {lanes} x {element}>"


def vscale_range(vector_bits: int) -> str:
    """The function attribute that tells LLVM the vector length."""
    return f"vscale_range({vector_bits // SEGMENT_BITS},{vector_bits // SEGMENT_BITS})"


def all_true(f: Function, lanes: int) -> Value:
    return f.const(scalable(lanes, I1), 1)


def load_repeated(f: Function, type_: str, pointer: Value, offset: int = 0) -> Value:
    """16 bytes in every 128-bit segment."""
    name = f"llvm.aarch64.sve.ld1rq.{mangled(type_)}"
    return f.call(name, type_, all_true(f, num_lanes(type_)), f.offset(pointer, offset))


def first_lanes(f: Function, count: Value, lanes: int = 4) -> Value:
    """A predicate: lanes below `count` (signed)."""
    predicate = scalable(lanes, I1)
    return f.call(f"llvm.aarch64.sve.whilelt.{mangled(predicate)}.i64", predicate, f.const(I64, 0), count)


def load_lanes(f: Function, type_: str, pointer: Value, predicate: Value) -> Value:
    """Zeros elsewhere."""
    return f.call(f"llvm.aarch64.sve.ld1.{mangled(type_)}", type_, predicate, pointer)


def store_lanes(f: Function, value: Value, pointer: Value, predicate: Value) -> None:
    f.call(f"llvm.aarch64.sve.st1.{mangled(value.type)}", VOID, value, predicate, pointer)


def zip_(f: Function, which: str, left: Value, right: Value) -> Value:
    """`which`: zip1, zip2, uzp1, uzp2."""
    return f.call(f"llvm.aarch64.sve.{which}.{mangled(left.type)}", left.type, left, right)


def as_scalable(f: Function, value: Value) -> Value:
    """A fixed vector that fills a scalable one, as that: where `vscale_range` says so, nothing at all."""
    _, element = value.type[1:-1].split(" x ")
    type_ = scalable(SEGMENT_BITS // ELEMENT_BITS[element], element)
    name = f"llvm.vector.insert.{mangled(type_)}.{mangled(value.type)}"
    return f.call(name, type_, Value(f, type_, "poison"), value, f.const(I64, 0))


def as_fixed(f: Function, value: Value, lanes: int) -> Value:
    """The inverse; `lanes` are all there are."""
    type_ = vector(lanes, value.type.rsplit(" ", 1)[1].rstrip(">"))
    return f.call(f"llvm.vector.extract.{mangled(type_)}.{mangled(value.type)}", type_, value, f.const(I64, 0))


def look_up_in(f: Function, table: Value, indices: Value) -> Value:
    """Bytes of a scalable vector by their indices."""
    return f.call(f"llvm.aarch64.sve.tbl.{mangled(table.type)}", table.type, table, indices)
