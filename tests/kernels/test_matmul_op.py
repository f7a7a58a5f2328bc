"""The macro-kernel: every portion once, the same bits for any team and any split of the rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from kernels.cpu import detect_cpu
from kernels.families.direct import matmul, pack_lhs
from kernels.jit.library import KernelLibrary
from kernels.matmul import MatmulOp
from kernels.quant.random_rows import random_weights
from kernels.registry import FAMILIES, family_for
from kernels.runtime.abi import STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import ProgramBuilder
from kernels.select import choose_matmul

LIBRARY = KernelLibrary()
MAX_ROWS = 300


def run(source: str, x: npt.NDArray[np.float32], n: int, num_threads: int) -> npt.NDArray[np.float32]:
    """One op in a program of its own."""
    k = x.shape[1]
    choice = choose_matmul(family_for(source), detect_cpu())
    rhs = choice.rhs.pack(random_weights(source, n, k, seed=1)).reshape(-1)
    builder = ProgramBuilder()
    lhs_bytes = -(-MAX_ROWS // choice.gemm.lhs.mr) * choice.gemm.lhs.panel_bytes(k)
    lhs = builder.buffer("lhs", np.uint8, (lhs_bytes,))
    dst = builder.buffer("dst", np.float32, (MAX_ROWS, n + 3))
    MatmulOp("test", choice, rhs, n, k, lhs, dst, column=2).add(builder, LIBRARY, num_threads)
    program = builder.build()
    variant = choice.gemv if len(x) == 1 else choice.gemm
    if len(x):
        packed = pack_lhs(LIBRARY, variant.lhs_pack, x)
        program.view(lhs)[: packed.size] = packed
    step = np.zeros(1, STEP)
    step["num_tokens"] = len(x)
    with Executor(program, num_threads) as executor:
        executor.run(int(step.ctypes.data))
        (stats,) = executor.kernel_stats()
    assert stats.kernel == str(variant.name)
    assert stats.calls == 1
    assert stats.operations == 2 * len(x) * n * k
    out = program.view(dst)
    assert not out[:, :2].any(), "columns before the op's own"
    assert not out[:, n + 2 :].any(), "columns after the op's own"
    assert not out[len(x) :].any(), "rows past the step's"
    return out[: len(x), 2 : n + 2].copy()


@pytest.mark.parametrize("source", [family.source for family in FAMILIES])
@pytest.mark.parametrize("m", [1, 2, 7, 64, 299])
@pytest.mark.parametrize("n", [5, 96, 200])
def test_every_team_computes_the_micro_kernels_bits(source: str, m: int, n: int) -> None:
    choice = choose_matmul(family_for(source), detect_cpu())
    k = -(-96 // choice.family.k_step) * choice.family.k_step
    x = np.random.default_rng(m).standard_normal((m, k), np.float32)
    rhs = choice.rhs.pack(random_weights(source, n, k, seed=1))
    expected = matmul(LIBRARY, choice.gemm, x, rhs, n)
    for num_threads in (1, 2, 3):
        np.testing.assert_array_equal(run(source, x, n, num_threads), expected)


@pytest.mark.parametrize("source", ["Q4_0", "Q6_K", "F16"])
@pytest.mark.parametrize("m", [48, 49, 131, 299])
def test_rows_are_divided_where_their_lhs_fills_the_cache(source: str, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.matmul.second_level_bytes", lambda: 1 << 12)
    test_every_team_computes_the_micro_kernels_bits(source, m, 96)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_no_rows_are_no_work(num_threads: int) -> None:
    assert run("Q4_0", np.zeros((0, 96), np.float32), 200, num_threads).shape == (0, 200)
