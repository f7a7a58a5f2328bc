"""Every matmul micro-kernel that this CPU runs, against NumPy and against its family's scalar rung."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from kernels.cpu import detect_cpu
from kernels.families.direct import matmul, pack_lhs
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.ladder import SCALAR
from kernels.naming import MatmulName
from kernels.quant.random_rows import random_weights
from kernels.registry import family_for, matmul_variants
from kernels.self_test import rounding_bound

CPU = detect_cpu()
ALL = list(matmul_variants())
# Ids begin with the rung, which names do not tell of every GEMV: `-k sve_i8mm:` is all of that rung.
HERE = [
    pytest.param(family, variant, id=f"{variant.rung.name}:{variant.name}")
    for family, variant in ALL
    if variant.rung.runs_on(CPU)
]
SHAPES = [
    (1, 1, 32),
    (1, 8, 64),
    (2, 16, 96),
    (3, 35, 64),
    (5, 33, 160),
    (8, 64, 256),
    (17, 50, 96),
    (37, 96, 64),
    (37, 50, 448),
    (9, 20, 4096),
]

CANDIDATES = [
    pytest.param(family, variant, id=f"{variant.rung.name}:{variant.name}")
    for family, variant in ALL
    if variant.rung.runs_on(CPU) and not variant.is_gemv
    if len(family.gemms_beside(variant)) + len(family.gemvs_beside(variant)) > 2
]
LIBRARY = KernelLibrary()


@pytest.fixture(scope="module")
def library() -> KernelLibrary:
    return LIBRARY


def whole(family: Family, k: int) -> int:
    """The next number of elements that the family's rows can have."""
    return -(-k // family.k_step) * family.k_step


def rows(seed: int, m: int, k: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((m, k), np.float32)


@pytest.mark.parametrize(("_", "variant"), [pytest.param(f, v, id=str(v.name)) for f, v in ALL])
def test_name_parses_back(_: Family, variant: MatmulVariant) -> None:
    assert MatmulName.parse(str(variant.name)) == variant.name


def test_names_are_unique() -> None:
    names = [str(variant.name) for _, variant in ALL]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("family", "variant"), HERE)
def test_lhs_pack_is_its_numpy_twin(family: Family, variant: MatmulVariant, library: KernelLibrary) -> None:
    m = 1 if variant.is_gemv else 13
    part = variant.lhs.part_elements
    x = rows(1, m, 3 * part)
    x[0, :part] = 0
    x[0, part : 2 * part] = 1e-38
    x[m - 1, 2 * part :] *= 1e30
    packed = pack_lhs(library, variant.lhs_pack, x)
    twin = variant.lhs.pack(x)
    np.testing.assert_array_equal(packed.reshape(twin.shape), twin)


@dataclass(frozen=True, slots=True)
class Product:
    """What every rung of a family must give for one shape: within `bound` of the reference, the scalar rung's bits."""

    x: npt.NDArray[np.float32]
    raw: npt.NDArray[np.uint8]
    expected: npt.NDArray[np.float32]
    bound: npt.NDArray[np.float32]
    scalar: npt.NDArray[np.float32]


@functools.cache
def product(source: str, is_gemv: bool, m: int, n: int, k: int) -> Product:
    """Computed once for all rungs: under emulation NumPy's share is the larger one."""
    family = family_for(source)
    x, raw = rows(2, m, k), random_weights(source, n, k, seed=3)
    variant = next(v for v in family.variants if v.rung == SCALAR and v.is_gemv == is_gemv)
    scalar = matmul(LIBRARY, variant, x, variant.rhs.pack(raw), n)
    return Product(x, raw, family.reference(x, raw), rounding_bound(family, x, raw), scalar)


@pytest.mark.parametrize(("family", "variant"), HERE)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_matmul(family: Family, variant: MatmulVariant, library: KernelLibrary, m: int, n: int, k: int) -> None:
    m, k = 1 if variant.is_gemv else m, whole(family, k)
    wanted = product(family.source, variant.is_gemv, m, n, k)
    out = matmul(library, variant, wanted.x, variant.rhs.pack(wanted.raw), n)
    assert (np.abs(out - wanted.expected) <= wanted.bound).all()
    np.testing.assert_array_equal(out, wanted.scalar)


@pytest.mark.parametrize(("family", "variant"), [p for p in HERE if not p.values[1].is_gemv])
def test_gemm_rows_equal_gemv(family: Family, variant: MatmulVariant, library: KernelLibrary) -> None:
    """Batch-invariant: a row's bits do not depend on the rows beside it, nor on which kernel computed it."""
    gemv = family.gemv_beside(variant)
    k = whole(family, 128)
    most = 21 if variant.few_rows < 20 else variant.few_rows + 8
    x, raw = rows(4, most, k), random_weights(family.source, 40, k, seed=5)
    rhs = variant.rhs.pack(raw)
    together = matmul(library, variant, x, rhs, 40)
    for m in range(1, most):
        np.testing.assert_array_equal(matmul(library, variant, x[:m], rhs, 40), together[:m])
    for r in range(3):
        np.testing.assert_array_equal(matmul(library, gemv, x[r : r + 1], rhs, 40), together[r : r + 1])


@pytest.mark.parametrize(("family", "variant"), HERE)
def test_clamp(family: Family, variant: MatmulVariant, library: KernelLibrary) -> None:
    """Once, at the end of K, on the path of few rows and on that of many."""
    n, k = 40, whole(family, 448)
    raw = random_weights(family.source, n, k, seed=7)
    rhs = variant.rhs.pack(raw)
    for m in {1} if variant.is_gemv else {9, max(9, variant.few_rows + 1)}:
        x = rows(6, m, k)
        free = matmul(library, variant, x, rhs, n)
        np.testing.assert_array_equal(matmul(library, variant, x, rhs, n, (-0.5, 1.25)), free.clip(-0.5, 1.25))


@pytest.mark.parametrize(("family", "variant"), HERE)
def test_extreme_integers(family: Family, variant: MatmulVariant, library: KernelLibrary) -> None:
    """Saturating pairs: every LHS value at +-127 against the largest and smallest weights, all exact."""
    k, n = whole(family, 64), 16
    raw = random_weights(family.source, n, k, seed=8, extreme=True)
    x = np.where(np.arange(k) % 2, -1.0, 1.0).astype(np.float32)[None] * np.array([[1.0], [-1.0]], np.float32)
    x = np.concatenate([x, np.ones((1, k), np.float32), -np.ones((1, k), np.float32)])[: 1 if variant.is_gemv else 4]
    out = matmul(library, variant, x, variant.rhs.pack(raw), n)
    np.testing.assert_allclose(out, family.reference(x, raw), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("family", "gemm"), CANDIDATES)
@pytest.mark.parametrize(("m", "n", "k"), [(45, 100, 320), (16, 129, 64), (270, 64, 4096)])
def test_candidates_give_the_same_bits(
    family: Family, gemm: MatmulVariant, library: KernelLibrary, m: int, n: int, k: int
) -> None:
    """Autotune changes no answer: on one packed RHS, each tile that may take another's place computes what it does."""
    k = whole(family, k)
    x, raw = rows(9, m, k), random_weights(family.source, n, k, seed=10)
    rhs = gemm.rhs.pack(raw)
    expected = matmul(library, gemm, x, rhs, n)
    for candidate in family.gemms_beside(gemm)[1:]:
        np.testing.assert_array_equal(matmul(library, candidate, x, rhs, n), expected)
    for candidate in family.gemvs_beside(gemm):
        np.testing.assert_array_equal(matmul(library, candidate, x[:1], rhs, n), expected[:1])
