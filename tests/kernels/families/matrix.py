"""The whole matrix of every micro-kernel that this CPU runs: any shape, any legal portion, values at their ends.

Not collected with the other tests, for its length: `make matrix` runs it here, `make arm-matrix` on emulated cores.
Against the scalar rung, bit for bit; the scalar rung against the reference. Rows with NaN or infinity are no part of
it: what they give is not defined, only that other rows' bits stay (tests/end_to_end/test_poisoned_rows.py).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.cpu import detect_cpu
from kernels.families.direct import MATMUL, matmul, pack_lhs
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.ladder import SCALAR
from kernels.quant.random_rows import random_weights
from kernels.registry import matmul_variants
from kernels.self_test import rounding_bound

CPU = detect_cpu()
HERE = [
    pytest.param(family, variant, id=f"{variant.rung.name}:{variant.name}")
    for family, variant in matmul_variants()
    if variant.rung.runs_on(CPU)
]
LIBRARY = KernelLibrary()
FULL = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SIZES = st.fixed_dictionaries(
    {
        "m": st.one_of(st.integers(1, 40), st.sampled_from([1, 64, 129])),
        "n": st.one_of(st.integers(1, 140), st.sampled_from([1, 256])),
        "turns": st.integers(1, 12),
        "seed": st.integers(0, 1 << 20),
        "extreme": st.booleans(),
        "rows": st.sampled_from(["normal", "tiny", "denormal", "huge", "zeros", "one-sided", "ends"]),
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """One product: x f32[m, k], raw u8[n, row bytes]."""

    x: npt.NDArray[np.float32]
    raw: npt.NDArray[np.uint8]

    @classmethod
    def make(cls, family: Family, variant: MatmulVariant, sizes: dict[str, int | str | bool]) -> Case:
        m = 1 if variant.is_gemv else int(sizes["m"])
        k = int(sizes["turns"]) * max(32, family.k_step)
        seed = int(sizes["seed"])
        x = np.random.default_rng(seed).standard_normal((m, k), np.float32)
        kind = sizes["rows"]
        if kind == "ends":  # every product at the end of its range
            x = np.where(x < 0, np.float32(-1), np.float32(1))
        x *= np.float32({"tiny": 2.0**-99, "denormal": 2.0**-130, "huge": 2.0**90}.get(str(kind), 1.0))
        if kind == "zeros":
            x[::2] = 0
        if kind == "one-sided":
            x = np.abs(x) + np.float32(3)
        raw = random_weights(family.source, int(sizes["n"]), k, seed + 1, extreme=bool(sizes["extreme"]))
        return cls(np.ascontiguousarray(x, np.float32), raw)

    def result(self, variant: MatmulVariant) -> npt.NDArray[np.float32]:
        return matmul(LIBRARY, variant, self.x, variant.rhs.pack(self.raw), len(self.raw))


def scalar_of(family: Family, variant: MatmulVariant) -> MatmulVariant:
    return next(v for v in family.variants if v.rung == SCALAR and v.is_gemv == variant.is_gemv)


@pytest.mark.parametrize(("family", "variant"), HERE)
@FULL
@given(sizes=SIZES)
def test_bits_are_the_scalar_rungs(family: Family, variant: MatmulVariant, sizes: dict[str, int | str | bool]) -> None:
    case = Case.make(family, variant, sizes)
    out = case.result(variant)
    assert np.isfinite(out).all()
    if variant.rung != SCALAR:
        np.testing.assert_array_equal(out, case.result(scalar_of(family, variant)))
        return
    bound = rounding_bound(family, case.x, case.raw) + np.float32(2.0**-120)
    assert (np.abs(out - family.reference(case.x, case.raw)) <= bound).all()


@pytest.mark.parametrize(("family", "variant"), HERE)
@FULL
@given(sizes=SIZES, at=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 60), st.integers(1, 90)))
def test_any_portion(
    family: Family, variant: MatmulVariant, sizes: dict[str, int | str | bool], at: tuple[int, int, int, int]
) -> None:
    """A portion begins where a tile and a panel begin, is of any size, and is all that is written."""
    case = Case.make(family, variant, sizes)
    whole = case.result(variant)
    (m, n), k = whole.shape, case.x.shape[1]
    row_step = int(np.lcm(variant.name.m_step, variant.lhs.mr))
    column_step = int(np.lcm(variant.name.n_step, variant.rhs.nr))
    row, column = at[0] * row_step % (-(-m // row_step) * row_step), at[1] * column_step
    column %= -(-n // column_step) * column_step
    height, width = min(at[2], m - row), min(at[3], n - column)
    lhs = pack_lhs(LIBRARY, variant.lhs_pack, case.x)
    rhs = variant.rhs.pack(case.raw).reshape(-1)
    out = np.full((m, n), 7, np.float32)
    MATMUL(LIBRARY.address(str(variant.name)))(
        height,
        width,
        k,
        ctypes.c_void_p(lhs.ctypes.data + row // variant.lhs.mr * variant.lhs.panel_bytes(k)),
        ctypes.c_void_p(rhs.ctypes.data + column // variant.rhs.nr * variant.rhs.panel_bytes(k)),
        ctypes.c_void_p(out.ctypes.data + 4 * (row * n + column)),
        4 * n,
        -np.inf,
        np.inf,
    )
    expected = np.full((m, n), 7, np.float32)
    expected[row : row + height, column : column + width] = whole[row : row + height, column : column + width]
    np.testing.assert_array_equal(out, expected)
