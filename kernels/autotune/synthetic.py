"""A matmul on made-up panels, once for each candidate: what a race runs, by the macro-kernel and the team that serve.

GEMMs multiply one copy of the weights, as many columns as keep a run short. GEMVs go through copies in turn, more than
small caches hold, as a decode goes through the layers: a run reads a portion, whichever is its candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt

from kernels.autotune.evict import evictor
from kernels.autotune.task import TileTask
from kernels.families.direct import pack_lhs
from kernels.families.variant import MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.matmul import MatmulOp, matmul
from kernels.quant.random_rows import random_weights
from kernels.runtime.abi import STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import ProgramBuilder
from kernels.runtime.team import Team
from kernels.runtime.walk import run_step
from kernels.select import MatmulChoice

Bytes = npt.NDArray[np.uint8]
ROWS = 256
"""Of a GEMM, or what a step holds if that is less."""
MOST_ELEMENTS = 1 << 20
"""Of the weights; a larger matrix stands for itself by its first columns."""
MOST_STRIDE = 1 << 14
"""Columns from one row of a result to the next, if the matrix has as many: it decides where caches collide."""
COLD_BYTES = 64 << 20
"""Of the copies."""
PORTIONS = 5
"""Odd, so that two candidates that take turns meet them all."""
MADE_PANELS = 4
"""With weights of their own; the others are copies."""
SEED = 11


def compile_runners() -> None:
    """What every bench runs is compiled, or found compiled, before a clock is read."""
    for function in (matmul, run_step):
        assert function.address


class SyntheticMatmul:
    """gemm_runs, gemv_runs: a call multiplies with the candidate of this index, a GEMV with the portion that
    `turn` has come to. Close it after use.

    product: f32[rows, n or more], what the last run computed: of a GEMV, its first row.
    """

    def __init__(
        self,
        task: TileTask,
        gemms: Sequence[MatmulVariant],
        gemvs: Sequence[MatmulVariant],
        library: KernelLibrary,
        team: Team,
        max_rows: int,
    ) -> None:
        rhs, k, num_threads = task.choice.rhs, task.k, team.num_threads
        n = min(task.n, max(1, MOST_ELEMENTS // k // rhs.nr) * rhs.nr)
        panels = -(-n // rhs.nr)
        made = rhs.pack(random_weights(task.choice.family.source, MADE_PANELS * rhs.nr, k, SEED)).reshape(-1)
        num_bytes = panels * rhs.panel_bytes(k)
        self._evict = evictor(library)
        self._portion = max(1, COLD_BYTES // num_bytes // PORTIONS)
        self._copies = copies = np.empty((PORTIONS * self._portion, num_bytes), np.uint8)
        copies[:] = np.resize(made, num_bytes)
        rows = max(1, min(ROWS, max_rows))
        x = np.random.default_rng(SEED).standard_normal((rows, k), np.float32)
        packed = {v.lhs_pack.name: pack_lhs(library, v.lhs_pack, x) for v in (*gemms, *gemvs)}

        builder = ProgramBuilder()
        lhs = {name: builder.buffer(name, np.uint8, array.shape) for name, array in packed.items()}
        dst = builder.buffer("dst", np.float32, (rows, max(n, min(task.n, MOST_STRIDE))), is_spread=True)
        num_ops = 0

        def add(choice: MatmulChoice, variant: MatmulVariant, weights: Bytes) -> int:
            """-> its first op"""
            nonlocal num_ops
            for copy in weights:
                op = MatmulOp("tune", choice, copy, n, k, lhs[variant.lhs_pack.name], dst)
                op.add(builder, library, num_threads)
            num_ops += len(weights)
            return num_ops - len(weights)

        of_gemms = [add(replace(task.choice, gemm=gemm), gemm, copies[:1]) for gemm in gemms]
        of_gemvs = [add(replace(task.choice, gemv=gemv), gemv, copies) for gemv in gemvs]
        program = builder.build()
        for name, array in packed.items():
            program.view(lhs[name])[:] = array
        self.product = program.view(dst)
        self._steps = np.zeros(2, STEP)
        self._steps["num_tokens"] = rows, 1
        self._executor = Executor(program, num_threads, team=team)
        self._first_copy = 0
        self.gemm_runs: list[Callable[[], None]] = [partial(self._run, self._steps[:1], op, op + 1) for op in of_gemms]
        self.gemv_runs: list[Callable[[], None]] = [partial(self._run_portion, op) for op in of_gemvs]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.close()
        # Runs are methods of this object: a cycle, in which copies would outlive the next task's, and the packing.
        self.gemm_runs, self.gemv_runs = [], []

    def turn(self, from_memory: bool) -> None:
        """To the next portion, and with it out of all caches if GEMVs are to read it from memory."""
        self._first_copy = (self._first_copy + self._portion) % len(self._copies)
        if from_memory:
            self._evict(self._copies[self._first_copy : self._first_copy + self._portion])

    def _run_portion(self, first_op: int) -> None:
        begin = first_op + self._first_copy
        self._run(self._steps[1:], begin, begin + self._portion)

    def _run(self, step: npt.NDArray[np.void], first_op: int, end_op: int) -> None:
        self._executor.run(int(step.ctypes.data), first_op, end_op)
