"""Calls a micro-kernel from native functions by its address. Knows no signature but its arity."""

from typing import Any, Final

from llvmlite import ir

from kernels.jit.function import intrinsic
from kernels.jit.native import pointer_to
from kernels.jit.numba_types import nb, signature

_I64: Final = ir.IntType(64)


@intrinsic
def call_kernel(typingctx: Any, function: Any, arguments: Any) -> Any:
    """Call the micro-kernel at address `function` with a tuple of i64: sizes, strides, addresses."""
    arguments = nb.UniTuple(nb.int64, arguments.count)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64] * arguments.count)
        values = [builder.extract_value(args[1], index) for index in range(arguments.count)]
        builder.call(pointer_to(builder, args[0], kind), values)
        return context.get_dummy_value()

    return signature(nb.none, nb.int64, arguments), codegen
