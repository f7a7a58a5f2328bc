"""RMS norm, residual add and the gather of sampled rows, against the twin; the same bits for any division of work."""

import re

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.ops.rms_norm import ResidualAddOp, RmsNormOp, rms_norm, rms_normalise
from kernels.runtime.program import ProgramBuilder
from tests.kernels.ops.steps import HandStep

# Sums of n squares in 32 partial sums: a few roundings of 2^-24 each.
RTOL = 3e-6


def run_norm(
    x: np.ndarray,
    weight: np.ndarray,
    delta: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    num_threads: int = 1,
    eps: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and out after the op."""
    builder = ProgramBuilder()
    x_buffer = builder.buffer("x", np.float32, x.shape)
    delta_buffer = builder.buffer("delta", np.float32, x.shape)
    out = builder.buffer("out", np.float32, x.shape if rows is None else (len(rows), x.shape[1]))
    used = None if delta is None else delta_buffer
    RmsNormOp("norm", x_buffer, weight.ctypes.data, out, eps, used, rows is not None).add(builder)
    program = builder.build()
    program.view(x_buffer)[:] = x
    if delta is not None:
        program.view(delta_buffer)[:] = delta
    step = HandStep(len(x)) if rows is None else HandStep(len(x), logit_rows=rows)
    step.run(program, num_threads)
    return program.view(x_buffer).copy(), program.view(out).copy()


def data(num_rows: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(dim)
    scale = 10.0 ** rng.integers(-3, 3, (num_rows, 1))
    x = (rng.standard_normal((num_rows, dim)) * scale).astype(np.float32)
    return x, (rng.standard_normal((num_rows, dim)) * scale).astype(np.float32), rng.random(dim).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 15, 16, 31, 48, 63, 64, 576, 2048, 4096])
def test_norm(dim: int) -> None:
    x, _, weight = data(9, dim)
    kept, out = run_norm(x, weight)
    np.testing.assert_array_equal(kept, x)
    np.testing.assert_allclose(out, rms_normalise(x, weight, 1e-5), rtol=RTOL, atol=1e-30)


@pytest.mark.parametrize("dim", [7, 64, 576])
def test_residual_is_added_first(dim: int) -> None:
    x, delta, weight = data(9, dim)
    kept, out = run_norm(x, weight, delta)
    np.testing.assert_array_equal(kept, x + delta)
    np.testing.assert_array_equal(out, run_norm(x + delta, weight)[1])


@pytest.mark.parametrize("with_delta", [False, True])
def test_sampled_rows(with_delta: bool) -> None:
    x, delta, weight = data(20, 96)
    rows = np.array([19, 3, 3, 0], np.int32)
    kept, out = run_norm(x, weight, delta if with_delta else None, rows)
    np.testing.assert_array_equal(kept, x)
    np.testing.assert_array_equal(out, run_norm(x + delta if with_delta else x, weight)[1][rows])


@pytest.mark.parametrize("num_rows", [1, 2, 16, 17, 100])
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_no_bit_depends_on_the_batch(num_rows: int, num_threads: int) -> None:
    x, delta, weight = data(100, 576)
    whole = run_norm(x, weight, delta)
    part = run_norm(x[:num_rows], weight, delta[:num_rows], num_threads=num_threads)
    np.testing.assert_array_equal(part[0], whole[0][:num_rows])
    np.testing.assert_array_equal(part[1], whole[1][:num_rows])


def test_zeros_and_eps() -> None:
    weight = np.ones(32, np.float32)
    assert not run_norm(np.zeros((2, 32), np.float32), weight)[1].any()
    tiny = np.full((1, 32), 1e-4, np.float32)
    np.testing.assert_allclose(run_norm(tiny, weight, eps=1e-8)[1], 1e-4 / np.sqrt(2e-8), rtol=1e-5)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_residual_add(num_threads: int) -> None:
    x, delta, _ = data(33, 80)
    builder = ProgramBuilder()
    x_buffer, delta_buffer = builder.buffer("x", np.float32, x.shape), builder.buffer("delta", np.float32, x.shape)
    ResidualAddOp("add", x_buffer, delta_buffer).add(builder)
    program = builder.build()
    program.view(x_buffer)[:], program.view(delta_buffer)[:] = x, delta
    HandStep(30).run(program, num_threads)
    np.testing.assert_array_equal(program.view(x_buffer)[:30], (x + delta)[:30])
    np.testing.assert_array_equal(program.view(x_buffer)[30:], x[30:])


@pytest.mark.skipif(detect_cpu().arch != "x86_64" or not detect_cpu().has("avx2", "fma"), reason="reads AVX2 assembly")
def test_the_sum_of_squares_is_vector_code() -> None:
    assembly = rms_norm.assembly()
    assert len(re.findall(r"vfmadd\d+ps.*ymm|vfmadd\d+ps.*zmm", assembly)) >= 2
