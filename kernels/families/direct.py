"""Calls matmul micro-kernels one by one through ctypes, outside a program. Knows the C signatures only."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from kernels.errors import KernelsError
from kernels.families.variant import MatmulVariant, PackVariant
from kernels.jit.library import KernelLibrary

_SIZE, _POINTER, _FLOAT = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
MATMUL = ctypes.CFUNCTYPE(None, _SIZE, _SIZE, _SIZE, _POINTER, _POINTER, _POINTER, _SIZE, _FLOAT, _FLOAT)
PACK = ctypes.CFUNCTYPE(None, _SIZE, _SIZE, _POINTER, _SIZE, _POINTER)


class WroteTooFar(KernelsError):
    """A micro-kernel wrote past the portion that it was given."""


def pack_lhs(library: KernelLibrary, pack: PackVariant, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """x: f32[M, K] -> u8[panels * panel bytes], packed natively panel by panel."""
    library.load([(pack.name, pack.emit)])
    run = PACK(library.address(pack.name))
    layout, k = pack.layout, x.shape[1]
    packed = np.zeros((-(-x.shape[0] // layout.mr), layout.panel_bytes(k)), np.uint8)
    for p, panel in enumerate(packed):
        rows = np.ascontiguousarray(x[p * layout.mr : (p + 1) * layout.mr])
        run(rows.shape[0], k, rows.ctypes.data, 4 * k, panel.ctypes.data)
    return packed.reshape(-1)


def matmul(
    library: KernelLibrary,
    variant: MatmulVariant,
    x: npt.NDArray[np.float32],
    rhs: npt.NDArray[np.uint8],
    n: int,
    clamp: tuple[float, float] = (-np.inf, np.inf),
) -> npt.NDArray[np.float32]:
    """x: f32[M, K], rhs: packed -> f32[M, N] with a guard column that must stay untouched. Raises WroteTooFar."""
    library.load([(str(variant.name), variant.emit)])
    run = MATMUL(library.address(str(variant.name)))
    m, k = x.shape
    lhs = pack_lhs(library, variant.lhs_pack, x)
    out = np.full((m, n + 1), 7, np.float32)
    run(m, n, k, lhs.ctypes.data, rhs.ctypes.data, out.ctypes.data, 4 * (n + 1), *clamp)
    if not (out[:, n] == 7).all():
        raise WroteTooFar(f"{variant.name} wrote past its last column")
    return out[:, :n].copy()
