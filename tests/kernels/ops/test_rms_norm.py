"""RMS norm and residual add of a row against the twin. The ops that use them: test_lhs_pack.py."""

import re

import numpy as np
import numpy.typing as npt
import pytest

from kernels.cpu import detect_cpu
from kernels.jit.function import c_callable
from kernels.ops.rms_norm import add_row, rms_norm_row, rms_normalise

# Sums of n squares in 32 partial sums: a few roundings of 2^-24 each.
RTOL = 3e-6


@c_callable("void(int64, int64, int64, int64, float32)")
def norm(x: int, weight: int, out: int, n: int, eps: float) -> None:
    rms_norm_row(x, weight, out, n, eps)


@c_callable("void(int64, int64, int64, int64)")
def add(x: int, delta: int, out: int, n: int) -> None:
    add_row(x, delta, out, n)


def normed(x: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], eps: float) -> npt.NDArray[np.float32]:
    out = np.full(x.size + 1, 7, np.float32)
    norm.ctypes(x.ctypes.data, weight.ctypes.data, out.ctypes.data, x.size, eps)
    assert out[-1] == 7, "written past the row"
    return out[:-1]


@pytest.mark.parametrize("dim", [1, 15, 16, 31, 48, 63, 64, 576, 2048, 4096])
def test_norm(dim: int) -> None:
    random = np.random.default_rng(dim)
    for scale in (1e-3, 1.0, 1e3):
        x = (random.standard_normal(dim) * scale).astype(np.float32)
        weight = random.random(dim).astype(np.float32)
        np.testing.assert_allclose(normed(x, weight, 1e-5), rms_normalise(x[None], weight, 1e-5)[0], rtol=RTOL)


def test_zeros_and_eps() -> None:
    weight = np.ones(32, np.float32)
    assert not normed(np.zeros(32, np.float32), weight, 1e-5).any()
    tiny = np.full(32, 1e-4, np.float32)
    np.testing.assert_allclose(normed(tiny, weight, 1e-8), 1e-4 / np.sqrt(2e-8), rtol=1e-5)


@pytest.mark.parametrize("dim", [1, 16, 80, 95])
def test_add_in_place(dim: int) -> None:
    random = np.random.default_rng(dim)
    x, delta = random.standard_normal((2, dim)).astype(np.float32)
    expected = x + delta
    add.ctypes(x.ctypes.data, delta.ctypes.data, x.ctypes.data, dim)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.skipif(detect_cpu().arch != "x86_64" or not detect_cpu().has("avx2", "fma"), reason="reads AVX2 assembly")
def test_the_sum_of_squares_is_vector_code() -> None:
    assert len(re.findall(r"vfmadd\d+ps.*ymm|vfmadd\d+ps.*zmm", norm.assembly())) >= 2
