"""SwiGLU of a row, gate / (1 + e^-gate) * up, and GeGLU, gelu(gate) * up. Native, and NumPy twins. Knows no op.

GELU is the approximation by tanh, x / 2 (1 + tanh(c (x + 0.044715 x^3))) with c = sqrt(2 / pi): that is
x / (1 + e^(-2 c (x + 0.044715 x^3))), so both are one formula.

Sources: Shazeer, "GLU Variants Improve Transformer" (2020); Hendrycks and Gimpel, arXiv:1606.08415.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import intrinsic, native
from kernels.jit.numba_types import signature
from kernels.jit.vector import LANES, F32x16, f32x16, fma, load_f32x16, store_f32x16

_GELU: Final = np.float32(-2 * math.sqrt(2 / math.pi))
_GELU_CUBE: Final = np.float32(-2 * math.sqrt(2 / math.pi) * 0.044715)


@intrinsic
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """a / b in each lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return signature(F32x16, F32x16, F32x16), codegen


@native
def swiglu_row(gate: int, up: int, out: int, n: int) -> None:
    """n: a multiple of 16. e^-gate stops at 2^127, so nothing overflows: a gate of -1e6 gives -6e-33 * up."""
    one, zero = f32x16(np.float32(1)), f32x16(np.float32(0))
    for offset in range(0, 4 * n, 4 * LANES):
        value = load_f32x16(gate + offset)
        silu = divide(value, one + exp_f32x16(zero - value))
        store_f32x16(out + offset, silu * load_f32x16(up + offset))


@native
def geglu_row(gate: int, up: int, out: int, n: int) -> None:
    """n: a multiple of 16. As swiglu_row for large gates."""
    one, linear, cubic = f32x16(np.float32(1)), f32x16(_GELU), f32x16(_GELU_CUBE)
    for offset in range(0, 4 * n, 4 * LANES):
        value = load_f32x16(gate + offset)
        exponent = value * fma(value * value, cubic, linear)
        store_f32x16(out + offset, divide(value, one + exp_f32x16(exponent)) * load_f32x16(up + offset))


def swiglu(gate_up: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The twin, in f64: gate_up f32[T, 2F], gates first -> f32[T, F]."""
    gate, up = np.split(gate_up.astype(np.float64), 2, axis=1)
    with np.errstate(over="ignore"):
        made: npt.NDArray[np.float32] = (gate / (1 + np.exp(-gate)) * up).astype(np.float32)
    return made


def geglu(gate_up: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The twin, in f64: gate_up f32[T, 2F], gates first -> f32[T, F]."""
    gate, up = np.split(gate_up.astype(np.float64), 2, axis=1)
    gelu = gate / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
    made: npt.NDArray[np.float32] = (gelu * up).astype(np.float32)
    return made
