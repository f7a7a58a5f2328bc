"""Lanes of vectors in other places: pairs doubled and swapped, lanes scattered. See kernels.jit.vector."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir

from kernels.jit.function import intrinsic
from kernels.jit.native import pointer_to
from kernels.jit.numba_setup import numba
from kernels.jit.vector import LANES, F32x16, I32x16, unary

nb: Final[Any] = numba.core.types
_signature: Final[Any] = numba.core.typing.signature


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


def _scatter(builder: Any, target: Any, stride: Any, lanes: Any, align: int) -> None:
    for lane in range(LANES):
        item = builder.extract_element(lanes, ir.IntType(32)(lane))
        builder.store(item, pointer_to(builder, target, item.type), align=align)
        target = builder.add(target, stride)


@intrinsic
def scatter_f16x16(typingctx: Any, address: Any, stride: Any, value: Any) -> Any:
    """16 f32 as f16, rounded to nearest even, `stride` bytes apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        target, stride, value = args
        halves = builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES))
        _scatter(builder, target, stride, builder.bitcast(halves, ir.VectorType(ir.IntType(16), LANES)), 2)
        return context.get_dummy_value()

    return _signature(nb.none, nb.int64, nb.int64, F32x16), codegen


@intrinsic
def scatter_f32x16(typingctx: Any, address: Any, stride: Any, value: Any) -> Any:
    """16 f32, `stride` bytes apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _scatter(builder, args[0], args[1], args[2], 4)
        return context.get_dummy_value()

    return _signature(nb.none, nb.int64, nb.int64, F32x16), codegen


@intrinsic
def scatter_i8x16(typingctx: Any, address: Any, stride: Any, value: Any) -> Any:
    """The low byte of 16 i32, `stride` bytes apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _scatter(builder, args[0], args[1], builder.trunc(args[2], ir.VectorType(ir.IntType(8), LANES)), 1)
        return context.get_dummy_value()

    return _signature(nb.none, nb.int64, nb.int64, I32x16), codegen


@intrinsic
def store_i8x16(typingctx: Any, address: Any, value: Any) -> Any:
    """The low byte of 16 i32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        few = builder.trunc(args[1], ir.VectorType(ir.IntType(8), LANES))
        builder.store(few, pointer_to(builder, args[0], few.type), align=1)
        return context.get_dummy_value()

    return _signature(nb.none, nb.int64, I32x16), codegen


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

    return _signature(I32x16), codegen
