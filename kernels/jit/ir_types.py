"""LLVM's types and constants as text. Knows no instruction."""

from __future__ import annotations

import struct

VOID, PTR = "void", "ptr"
I1, I8, I16, I32, I64 = "i1", "i8", "i16", "i32", "i64"
F16, F32 = "half", "float"
# A function attribute of our own, which kernels.jit.build obeys: machine instructions keep the order of the IR.
AS_WRITTEN = '"schedule"="as-written"'


def vector(lanes: int, element: str) -> str:
    """The type of a fixed vector: `vector(8, F32)` is `<8 x float>`."""
    return f"<{lanes} x {element}>"


def num_lanes(type_: str) -> int:
    """Of a vector; of a scalable one, for each 128 bits."""
    return int(type_[1:].removeprefix("vscale x ").split(" ", 1)[0])


def mangled(type_: str) -> str:
    """A type as intrinsics' names spell it: `<8 x float>` is `v8f32`."""
    element = {F32: "f32", F16: "f16"}
    if not type_.startswith("<"):
        return element.get(type_, type_)
    lanes, name = type_[1:-1].rsplit(" x ", 1)
    scalable = lanes.startswith("vscale")
    return f"{'nx' if scalable else ''}v{lanes.removeprefix('vscale x ')}{element.get(name, name)}"


def is_float(type_: str) -> bool:
    return F32 in type_ or F16 in type_


def literal(element: str, value: float) -> str:
    if element in (F32, F16):
        return _float_literal(element, value)
    return str(int(value))


def _float_literal(element: str, value: float) -> str:
    if element == F16:
        (bits,) = struct.unpack("<H", struct.pack("<e", value))
        return f"0xH{bits:04X}"
    (single,) = struct.unpack("<f", struct.pack("<f", value))
    (bits,) = struct.unpack("<Q", struct.pack("<d", single))
    return f"0x{bits:016X}"
