"""SwiGLU of a row: gate / (1 + e^-gate) * up. Native, and its NumPy twin. Knows no op.

Source: Shazeer, "GLU Variants Improve Transformer" (2020).
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import intrinsic, native
from kernels.jit.numba_setup import numba
from kernels.jit.vector import LANES, F32x16, f32x16, load_f32x16, store_f32x16

_signature: Final[Any] = numba.core.typing.signature


@intrinsic
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """a / b in each lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return _signature(F32x16, F32x16, F32x16), codegen


@native
def swiglu_row(gate: int, up: int, out: int, n: int) -> None:
    """n: a multiple of 16. e^-gate stops at 2^127, so nothing overflows: a gate of -1e6 gives -6e-33 * up."""
    one, zero = f32x16(np.float32(1)), f32x16(np.float32(0))
    for offset in range(0, 4 * n, 4 * LANES):
        value = load_f32x16(gate + offset)
        silu = divide(value, one + exp_f32x16(zero - value))
        store_f32x16(out + offset, silu * load_f32x16(up + offset))


def swiglu(gate_up: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The twin, in f64: gate_up f32[T, 2F], gates first -> f32[T, F]."""
    gate, up = np.split(gate_up.astype(np.float64), 2, axis=1)
    with np.errstate(over="ignore"):
        made: npt.NDArray[np.float32] = (gate / (1 + np.exp(-gate)) * up).astype(np.float32)
    return made
