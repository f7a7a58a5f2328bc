"""The types of vectors in native functions, and their operators, as data. See kernels.jit.vector."""

import operator
from typing import Any, Final

from llvmlite import ir

from kernels.jit.declared import VectorKind

LANES: Final = 16

F32x16: Final = VectorKind("f32x16", ir.VectorType(ir.FloatType(), LANES))
I32x16: Final = VectorKind("i32x16", ir.VectorType(ir.IntType(32), LANES))
Mask16: Final = VectorKind("mask16", ir.VectorType(ir.IntType(1), LANES))
VECTOR_KINDS: Final = (F32x16, I32x16, Mask16)

OPERATORS: Final[tuple[tuple[Any, VectorKind, str], ...]] = (
    (operator.add, F32x16, "fadd"),
    (operator.sub, F32x16, "fsub"),
    (operator.mul, F32x16, "fmul"),
    (operator.add, I32x16, "add"),
    (operator.sub, I32x16, "sub"),
    (operator.and_, I32x16, "and_"),
    (operator.or_, I32x16, "or_"),
    (operator.lshift, I32x16, "shl"),
    (operator.rshift, I32x16, "ashr"),
    (operator.and_, Mask16, "and_"),
    (operator.or_, Mask16, "or_"),
)
"""Python's operator, what it takes two of and returns, and the instruction of llvmlite's builder."""
