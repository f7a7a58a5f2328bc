"""Lanes of vectors in other places: pairs doubled and swapped, lanes scattered, squares transposed. See
kernels.jit.vector."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from kernels.jit.function import intrinsic
from kernels.jit.native import pointer_to
from kernels.jit.numba_types import nb, signature
from kernels.jit.vector import LANES, F32x16, I32x16, unary


def _shuffle(lanes: Sequence[int]) -> Callable[[Any, Any], Any]:
    indices = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(lanes))
    return lambda builder, value: builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), indices)


@intrinsic
def double_low(typingctx: Any, value: Any) -> Any:
    """Lanes 0 0 1 1 ... 7 7."""
    return unary(F32x16, F32x16, _shuffle([lane // 2 for lane in range(LANES)]))


@intrinsic
def double_high(typingctx: Any, value: Any) -> Any:
    """Lanes 8 8 9 9 ... 15 15."""
    return unary(F32x16, F32x16, _shuffle([LANES // 2 + lane // 2 for lane in range(LANES)]))


@intrinsic
def swap_pairs(typingctx: Any, value: Any) -> Any:
    """Lanes 1 0 3 2 ... 15 14."""
    return unary(F32x16, F32x16, _shuffle([lane ^ 1 for lane in range(LANES)]))


def _store_low(bits: int) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        few = builder.trunc(args[1], ir.VectorType(ir.IntType(bits), LANES))
        builder.store(few, pointer_to(builder, args[0], few.type), align=1)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, I32x16), codegen


@intrinsic
def store_i8x16(typingctx: Any, address: Any, value: Any) -> Any:
    """The low byte of 16 i32."""
    return _store_low(8)


@intrinsic
def store_i16x16(typingctx: Any, address: Any, value: Any) -> Any:
    """The low half of 16 i32."""
    return _store_low(16)


def _transpose(bits: int) -> Any:
    """Four times each row of the upper half is interleaved with its fellow of the lower half."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, source_stride, target, target_stride = args
        kind = ir.VectorType(ir.IntType(bits), LANES)
        rows = []
        for _ in range(LANES):
            rows.append(builder.load(pointer_to(builder, source, kind), align=bits // 8))
            source = builder.add(source, source_stride)
        half = LANES // 2
        lanes = [lane for pair in zip(range(LANES), range(LANES, 2 * LANES), strict=True) for lane in pair]
        orders = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), part) for part in (lanes[:LANES], lanes[LANES:])]
        for _ in range(LANES.bit_length() - 1):
            rows = [builder.shuffle_vector(rows[i], rows[i + half], order) for i in range(half) for order in orders]
        for row in rows:
            builder.store(row, pointer_to(builder, target, kind), align=bits // 8)
            target = builder.add(target, target_stride)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, nb.int64, nb.int64, nb.int64), codegen


@intrinsic
def transpose_i8(typingctx: Any, source: Any, source_stride: Any, target: Any, target_stride: Any) -> Any:
    """16 x 16 elements of a byte; rows are `source_stride` bytes apart, as columns `target_stride`."""
    return _transpose(8)


@intrinsic
def transpose_i16(typingctx: Any, source: Any, source_stride: Any, target: Any, target_stride: Any) -> Any:
    """As transpose_i8, elements of two bytes."""
    return _transpose(16)


@intrinsic
def transpose_i32(typingctx: Any, source: Any, source_stride: Any, target: Any, target_stride: Any) -> Any:
    """As transpose_i8, elements of four bytes."""
    return _transpose(32)


@intrinsic
def alternate(typingctx: Any, value: Any) -> Any:
    """Even lanes negated."""
    signs = ir.Constant(ir.VectorType(ir.FloatType(), LANES), [-1.0, 1.0] * (LANES // 2))
    return unary(F32x16, F32x16, lambda builder, lanes: builder.fmul(lanes, signs))


@intrinsic
def first_lane(typingctx: Any, value: Any) -> Any:
    """Lane 0 as a scalar."""
    return unary(nb.float32, F32x16, lambda builder, lanes: builder.extract_element(lanes, ir.IntType(32)(0)))


@intrinsic
def lane_numbers(typingctx: Any) -> Any:
    """Lanes 0 1 2 ... 15."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(I32x16.llvm_type, list(range(LANES)))

    return signature(I32x16), codegen
