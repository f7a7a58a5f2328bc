"""What races run is the product that serves: every candidate computes, and all compute the same bits."""

from __future__ import annotations

import gc
import weakref
from itertools import product

import pytest

from kernels.autotune.synthetic import PORTIONS, SyntheticMatmul
from kernels.autotune.task import TileTask
from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.registry import FAMILIES
from kernels.runtime.team import Team
from kernels.select import choose_matmul

CPU = detect_cpu()
TASKS = [TileTask(choose_matmul(family, CPU), 288, 256) for family in FAMILIES]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.choice.family.source)
def test_all_candidates_compute_the_same(task: TileTask) -> None:
    with Team(2) as team, SyntheticMatmul(task, task.gemms, task.gemvs, KernelLibrary(), team, 40) as bench:
        assert (len(bench.gemm_runs), len(bench.gemv_runs)) == (len(task.gemms), len(task.gemvs))
        products = []
        for run in bench.gemm_runs:
            bench.product[:] = 0
            run()
            products.append(bench.product.copy())
        assert products[0].shape == (40, 288)
        assert products[0].any(axis=0).all(), "every column is computed"
        assert all(product.tobytes() == products[0].tobytes() for product in products)
        for run, from_memory in product([*bench.gemv_runs] * PORTIONS, (False, True)):
            bench.product[:] = 0
            bench.turn(from_memory)
            run()
            assert bench.product[0].tobytes() == products[0][0].tobytes()
            assert not bench.product[1:].any()


def test_nothing_outlives_its_use() -> None:
    """Copies of the weights are larger than caches, and the next task makes its own: none waits for a collection."""
    gc.collect()
    gc.disable()
    try:
        with Team(2) as team:
            with SyntheticMatmul(TASKS[0], TASKS[0].gemms, TASKS[0].gemvs, KernelLibrary(), team, 40) as bench:
                alive = weakref.ref(bench)
                bench.gemm_runs[0]()
            del bench
            assert alive() is None
    finally:
        gc.enable()
