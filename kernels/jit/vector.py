"""Vectors of 16 lanes as values in native functions: `f32x16`, `i32x16` and masks. Knows no instruction set.

LLVM splits the 16 lanes into what the CPU has (four NEON registers, two AVX2, one AVX512), so a sum over lanes has one
order everywhere and nothing is left to the auto-vectoriser. Inside native functions:

    total = f32x16(0.0)
    for i in range(0, n, LANES):
        x = load_f32x16(address + 4 * i)
        total = fma(x, x, total)
    return sum_lanes(total)
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir

from kernels.jit.function import inlined, intrinsic
from kernels.jit.native import declare, pointer_to
from kernels.jit.numba_types import nb, numba_type, signature
from kernels.jit.vector_kinds import LANES as LANES
from kernels.jit.vector_kinds import F32x16 as F32x16
from kernels.jit.vector_kinds import I32x16 as I32x16
from kernels.jit.vector_kinds import Mask16

_F32: Final = F32x16.llvm_type
_I32: Final = I32x16.llvm_type


def unary(returned: Any, argument: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """What an intrinsic of one argument returns."""
    return signature(returned, argument), lambda context, builder, sig, args: emit(builder, args[0])


def _splat(builder: Any, scalar: Any) -> Any:
    kind = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(_I32, [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


@intrinsic
def f32x16(typingctx: Any, scalar: Any) -> Any:
    """A scalar in every lane."""
    return unary(F32x16, nb.float32, _splat)


@intrinsic
def i32x16(typingctx: Any, scalar: Any) -> Any:
    """A scalar in every lane."""
    return unary(I32x16, nb.int32, _splat)


# Memory. Addresses need no alignment.


def _load(memory: Any, align: int, convert: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    vector = ir.VectorType(memory, LANES)
    return lambda builder, address: convert(builder, builder.load(pointer_to(builder, address, vector), align=align))


@intrinsic
def load_f32x16(typingctx: Any, address: Any) -> Any:
    """16 f32."""
    return unary(F32x16, nb.int64, _load(ir.FloatType(), 4, lambda builder, value: value))


@intrinsic
def load_f16x16(typingctx: Any, address: Any) -> Any:
    """16 f16 as f32."""
    return unary(F32x16, nb.int64, _load(ir.HalfType(), 2, lambda builder, value: builder.fpext(value, _F32)))


@intrinsic
def load_i32x16(typingctx: Any, address: Any) -> Any:
    """16 i32."""
    return unary(I32x16, nb.int64, _load(ir.IntType(32), 4, lambda builder, value: value))


@intrinsic
def load_u16x16(typingctx: Any, address: Any) -> Any:
    """16 u16 as i32."""
    return unary(I32x16, nb.int64, _load(ir.IntType(16), 2, lambda builder, value: builder.zext(value, _I32)))


@intrinsic
def load_i8x16(typingctx: Any, address: Any) -> Any:
    """16 i8 as i32."""
    return unary(I32x16, nb.int64, _load(ir.IntType(8), 1, lambda builder, value: builder.sext(value, _I32)))


@intrinsic
def load_u8x16(typingctx: Any, address: Any) -> Any:
    """16 u8 as i32."""
    return unary(I32x16, nb.int64, _load(ir.IntType(8), 1, lambda builder, value: builder.zext(value, _I32)))


@intrinsic
def store_f32x16(typingctx: Any, address: Any, value: Any) -> Any:
    """16 f32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[1], pointer_to(builder, args[0], _F32), align=4)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, F32x16), codegen


@intrinsic
def store_f16x16(typingctx: Any, address: Any, value: Any) -> Any:
    """16 f32 as f16, rounded to nearest even."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        half = builder.fptrunc(args[1], ir.VectorType(ir.HalfType(), LANES))
        builder.store(half, pointer_to(builder, args[0], half.type), align=2)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, F32x16), codegen


# Arithmetic, lane by lane; + - * and the bit operations as operators.


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once; vectors or f32 scalars."""
    kind = F32x16 if a == numba_type(F32x16) else nb.float32

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        llvm_type = args[0].type
        name = "llvm.fma.v16f32" if kind == F32x16 else "llvm.fma.f32"
        return builder.call(declare(builder, name, llvm_type, [llvm_type] * 3), args)

    return signature(kind, kind, kind, kind), codegen


@intrinsic
def to_f32(typingctx: Any, value: Any) -> Any:
    """i32 lanes as f32."""
    return unary(F32x16, I32x16, lambda builder, lanes: builder.sitofp(lanes, _F32))


@intrinsic
def as_i32(typingctx: Any, value: Any) -> Any:
    """The bits of f32 lanes."""
    return unary(I32x16, F32x16, lambda builder, lanes: builder.bitcast(lanes, _I32))


@intrinsic
def as_f32(typingctx: Any, value: Any) -> Any:
    """Bits as f32 lanes."""
    return unary(F32x16, I32x16, lambda builder, lanes: builder.bitcast(lanes, _F32))


@intrinsic
def above(typingctx: Any, a: Any, b: Any) -> Any:
    """a > b in each lane, false for NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fcmp_ordered(">", *args)

    return signature(Mask16, F32x16, F32x16), codegen


@intrinsic
def at_least(typingctx: Any, a: Any, b: Any) -> Any:
    """a >= b in each lane, false for NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fcmp_ordered(">=", *args)

    return signature(Mask16, F32x16, F32x16), codegen


@intrinsic
def select(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """a where the mask is set, else b."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return signature(a, Mask16, a, a), codegen


@inlined
def maximum(a: Any, b: Any) -> Any:
    """The greater of a and b in each lane; b where a is NaN."""
    return select(above(a, b), a, b)


@inlined
def minimum(a: Any, b: Any) -> Any:
    """The lesser of a and b in each lane; b where a is NaN."""
    return select(above(b, a), a, b)


@intrinsic
def mask_bits(typingctx: Any, mask: Any) -> Any:
    """Bit i of the i64 is lane i."""

    def emit(builder: Any, lanes: Any) -> Any:
        return builder.zext(builder.bitcast(lanes, ir.IntType(LANES)), ir.IntType(64))

    return unary(nb.int64, Mask16, emit)


def _fold(builder: Any, value: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Lane i with lane i+8, then +4, +2, +1."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        halves = [
            builder.shuffle_vector(
                value,
                ir.Constant(value.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), lanes), [start + lane for lane in range(lanes)]),
            )
            for start in (0, lanes)
        ]
        value = join(*halves)
    return builder.extract_element(value, ir.IntType(32)(0))


@intrinsic
def sum_lanes(typingctx: Any, value: Any) -> Any:
    """Sum in a fixed order: lane i + lane i+8, then +4, +2, +1."""
    return unary(nb.float32, F32x16, lambda builder, lanes: _fold(builder, lanes, builder.fadd))


@intrinsic
def max_lanes(typingctx: Any, value: Any) -> Any:
    """The greatest lane; no lane may be NaN."""

    def emit(builder: Any, lanes: Any) -> Any:
        return _fold(builder, lanes, lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return unary(nb.float32, F32x16, emit)
