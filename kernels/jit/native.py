"""What native functions need and Python lacks: memory by address, records, atomics, ticks, calls. Knows no op.

Addresses are int64. `kind` is a NumPy scalar type or a record dtype, known when the caller is compiled:
`load(address, np.float32)`, `record(address, STEP)`.
"""

import platform
from typing import Any, Final

from llvmlite import ir

from kernels.jit.function import intrinsic
from kernels.jit.numba_types import nb, signature

_I32: Final = ir.IntType(32)
_I64: Final = ir.IntType(64)


def pointer_to(builder: Any, address: Any, element: Any) -> Any:
    """For code generators: an address as a pointer to an LLVM type."""
    return builder.inttoptr(address, element.as_pointer())


@intrinsic
def load(typingctx: Any, address: Any, kind: Any) -> Any:
    """The number of type `kind` at `address`, naturally aligned or not."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(pointer_to(builder, args[0], context.get_value_type(sig.return_type)), align=1)

    return signature(kind.dtype, nb.int64, kind), codegen


@intrinsic
def store(typingctx: Any, address: Any, value: Any, kind: Any) -> Any:
    """Write `value` as a number of type `kind` at `address`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[1], pointer_to(builder, args[0], args[1].type), align=1)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, kind.dtype, kind), codegen


@intrinsic
def load_half(typingctx: Any, address: Any) -> Any:
    """The f16 at `address` as f32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        half = builder.load(pointer_to(builder, args[0], ir.HalfType()), align=2)
        return builder.fpext(half, ir.FloatType())

    return signature(nb.float32, nb.int64), codegen


@intrinsic
def store_half(typingctx: Any, address: Any, value: Any) -> Any:
    """Write the f32 `value` at `address` as f16, rounded to nearest even."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        half = builder.fptrunc(args[1], ir.HalfType())
        builder.store(half, pointer_to(builder, args[0], half.type), align=2)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, nb.float32), codegen


@intrinsic
def record(typingctx: Any, address: Any, dtype: Any) -> Any:
    """The record of this dtype at `address`; its fields are read and written in place."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return signature(dtype.dtype, nb.int64, dtype), codegen


@intrinsic
def view(typingctx: Any, address: Any, shape: Any, kind: Any) -> Any:
    """An array in C order over the memory at `address`; `shape` is an int64 or a tuple of int64."""
    num_axes = 1 if isinstance(shape, nb.Integer) else shape.count
    shape = nb.int64 if num_axes == 1 else nb.UniTuple(nb.int64, num_axes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array_type = sig.return_type
        array = context.make_array(array_type)(context, builder)
        sizes = [args[1]] if num_axes == 1 else [builder.extract_value(args[1], axis) for axis in range(num_axes)]
        item = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        strides = [_I64(item)]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        data = builder.inttoptr(args[0], array.data.type)
        context.populate_array(array, data=data, shape=sizes, strides=strides, itemsize=item, meminfo=None)
        return array._getvalue()

    return signature(nb.Array(kind.dtype, num_axes, "C"), nb.int64, shape, kind), codegen


@intrinsic
def float_bits(typingctx: Any, value: Any) -> Any:
    """The bits of an f32 as i32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _I32)

    return signature(nb.int32, nb.float32), codegen


# Atomics. The ordering is part of the name: what the executor does with each is said there.


@intrinsic
def atomic_load_i32(typingctx: Any, address: Any) -> Any:
    """Sequentially consistent: what follows a store must not be read before it (sleepers after a wake-up word)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer_to(builder, args[0], _I32), "seq_cst", 4)

    return signature(nb.int32, nb.int64), codegen


@intrinsic
def atomic_store_i32(typingctx: Any, address: Any, value: Any) -> Any:
    """Sequentially consistent."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], pointer_to(builder, args[0], _I32), "seq_cst", 4)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, nb.int32), codegen


@intrinsic
def atomic_add_i32(typingctx: Any, address: Any, value: Any) -> Any:
    """Sequentially consistent; returns the value before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", pointer_to(builder, args[0], _I32), args[1], "seq_cst")

    return signature(nb.int32, nb.int64, nb.int32), codegen


@intrinsic
def atomic_add_i64(typingctx: Any, address: Any, value: Any) -> Any:
    """Relaxed: takes a chunk of work, orders nothing. Returns the value before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", pointer_to(builder, args[0], _I64), args[1], "monotonic")

    return signature(nb.int64, nb.int64, nb.int64), codegen


@intrinsic
def atomic_load_i64(typingctx: Any, address: Any) -> Any:
    """Sequentially consistent."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer_to(builder, args[0], _I64), "seq_cst", 8)

    return signature(nb.int64, nb.int64), codegen


@intrinsic
def atomic_store_i64(typingctx: Any, address: Any, value: Any) -> Any:
    """Sequentially consistent."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], pointer_to(builder, args[0], _I64), "seq_cst", 8)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, nb.int64), codegen


@intrinsic
def atomic_add_ordered_i64(typingctx: Any, address: Any, value: Any) -> Any:
    """Sequentially consistent; returns the value before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", pointer_to(builder, args[0], _I64), args[1], "seq_cst")

    return signature(nb.int64, nb.int64, nb.int64), codegen


@intrinsic
def atomic_compare_exchange_i64(typingctx: Any, address: Any, expected: Any, value: Any) -> Any:
    """Sequentially consistent; whether `expected` was found, and so `value` written."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = pointer_to(builder, args[0], _I64)
        found = builder.cmpxchg(pointer, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return signature(nb.boolean, nb.int64, nb.int64, nb.int64), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Marks a spin loop: `pause` on x86; `isb` on Arm, where `yield` does nothing on most cores."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _is_x86():
            builder.call(declare(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        else:
            builder.call(declare(builder, "llvm.aarch64.isb", ir.VoidType(), [_I32]), [_I32(15)])
        return context.get_dummy_value()

    return signature(nb.none), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Asks for the cache line of an address that will be read soon; it need not be anybody's."""
    return _prefetch(3)


@intrinsic
def prefetch_l2(typingctx: Any, address: Any) -> Any:
    """As `prefetch`, into the second level: of what will be read later."""
    return _prefetch(2)


def _prefetch(locality: int) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = [ir.IntType(8).as_pointer(), _I32, _I32, _I32]
        ask = declare(builder, "llvm.prefetch.p0", ir.VoidType(), kind)
        builder.call(ask, [pointer_to(builder, args[0], ir.IntType(8)), _I32(0), _I32(locality), _I32(1)])
        return context.get_dummy_value()

    return signature(nb.none, nb.int64), codegen


@intrinsic
def read_ticks(typingctx: Any) -> Any:
    """The tick counter: rdtsc on x86, cntvct_el0 on Arm. Not serialising."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(declare(builder, "llvm.readcyclecounter", _I64, []), [])

    return signature(nb.int64), codegen


@intrinsic
def count_leading_zeros(typingctx: Any, value: Any) -> Any:
    """Of an i64; 64 for 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.IntType(1)(0))

    return signature(nb.int64, nb.int64), codegen


@intrinsic
def count_trailing_zeros(typingctx: Any, value: Any) -> Any:
    """Of an i64; 64 for 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return signature(nb.int64, nb.int64), codegen


@intrinsic
def call_op(typingctx: Any, function: Any, op: Any, thread: Any) -> Any:
    """Call the op function at this address: i64 (i64, i64)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64])
        return builder.call(pointer_to(builder, args[0], kind), args[1:])

    return signature(nb.int64, nb.int64, nb.int64, nb.int64), codegen


@intrinsic
def call_syscall(typingctx: Any, function: Any, number: Any, first: Any, second: Any, third: Any) -> Any:
    """Call libc's `syscall`, whose address is `function`, with three arguments and a null fourth."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64], var_arg=True)
        return builder.call(pointer_to(builder, args[0], kind), [*args[1:], _I64(0)])

    return signature(nb.int64, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64), codegen


def _is_x86() -> bool:
    return platform.machine() in ("x86_64", "AMD64")


def declare(builder: Any, name: str, returned: Any, arguments: list[Any]) -> Any:
    """For code generators: an LLVM intrinsic by its full name."""
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(returned, arguments), name)
