"""Weights as the chosen micro-kernels want them: which tensors form one matmul, how they are packed, where they lie.

Tensors that are multiplied with the same activations stand side by side (query, key, value; gate, up): one matmul.
Knows no architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.autotune.task import TileTask
from kernels.cpu import CPU
from kernels.registry import UnsupportedType, family_for
from kernels.select import Check, MatmulChoice, choose_matmul, unchecked
from service.errors import ModelFileError
from service.gguf.reader import GGUFFile, TensorInfo
from service.model.matrix import Matrix
from service.model.packing import Packing, Provide

Tuner: TypeAlias = Callable[[Sequence[TileTask]], Sequence[MatmulChoice]]
"""One choice for each task: kernels.autotune.tuner."""


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    matrix: Matrix
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PackedMatmul:
    """All of `matrices` read the same activations; `op`: its name in the program, the same in every layer."""

    op: str
    matrices: tuple[PackedMatrix, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """`embedding` stays in the file's mapping: a step reads one row a token. `matmuls` in the order of a step."""

    embedding: TensorInfo
    embedding_rows: npt.NDArray[np.uint8]
    matmuls: tuple[PackedMatmul, ...]

    def of(self, op: str) -> tuple[tuple[PackedMatrix, ...], ...]:
        """The matrices of every matmul of this name, layer by layer."""
        return tuple(matmul.matrices for matmul in self.matmuls if matmul.op == op)

    def ops(self) -> tuple[str, ...]:
        """The names, each once."""
        return tuple(dict.fromkeys(matmul.op for matmul in self.matmuls))

    @property
    def output(self) -> tuple[PackedMatrix, ...]:
        return self.matmuls[-1].matrices

    def matrices(self) -> Iterator[PackedMatrix]:
        for matmul in self.matmuls:
            yield from matmul.matrices

    @property
    def packed_bytes(self) -> int:
        return sum(packed.matrix.packed_bytes for packed in self.matrices())


@dataclass(frozen=True, slots=True)
class PlannedMatmul:
    op: str
    matrices: tuple[Matrix, ...]


class WeightPlanner:
    """Chooses micro-kernels for the matmuls of one file on one CPU, then packs them all.

    `check`: what a pair of micro-kernels must pass before weights are packed for it.
    """

    def __init__(self, file: GGUFFile, cpu: CPU, cap: str | None, check: Check = unchecked) -> None:
        self._file, self._cpu, self._cap, self._check = file, cpu, cap, check
        self.planned: list[PlannedMatmul] = []

    def plan(self, op: str, tensors: Sequence[TensorInfo]) -> int:
        """Neighbours of one type become one matrix, if the first fills whole panels. -> index among the matmuls"""
        made: list[Matrix] = []
        column = 0
        for tensor in tensors:
            choice = self._choose(tensor)
            last = made[-1] if made else None
            if last is not None and last.choice == choice and last.n % choice.rhs.nr == 0:
                made[-1] = Matrix((*last.tensors, tensor), choice, last.column)
            else:
                made.append(Matrix((tensor,), choice, column))
            column += tensor.num_rows
        self.planned.append(PlannedMatmul(op, tuple(made)))
        return len(self.planned) - 1

    def tune(self, tuner: Tuner) -> None:
        """Faster tiles take the place of static ones. How weights are packed stays."""
        choices = iter(tuner([TileTask(m.choice, m.n, m.k) for planned in self.planned for m in planned.matrices]))
        self.planned = [
            PlannedMatmul(planned.op, tuple(replace(matrix, choice=next(choices)) for matrix in planned.matrices))
            for planned in self.planned
        ]

    def lhs_bytes(self, max_tokens: int) -> int:
        """The largest packed LHS of any matmul."""
        sizes = [0]
        for planned in self.planned:
            for matrix in planned.matrices:
                for variant in (matrix.choice.gemm, matrix.choice.gemv):
                    num_panels = -(-max_tokens // variant.lhs.mr)
                    sizes.append(num_panels * variant.lhs.panel_bytes(matrix.k))
        return max(sizes)

    def pack(self, embedding: TensorInfo, provide: Provide) -> Weights:
        packing = Packing(self._file, [matrix for planned in self.planned for matrix in planned.matrices])
        memory = provide(packing)
        packed = iter([PackedMatrix(placed.matrix, memory[placed.offset : placed.end]) for placed in packing.placed])
        matmuls = tuple(
            PackedMatmul(planned.op, tuple(next(packed) for _ in planned.matrices)) for planned in self.planned
        )
        return Weights(embedding, self._file.data(embedding.name), matmuls)

    def _choose(self, tensor: TensorInfo) -> MatmulChoice:
        try:
            family = family_for(tensor.type.name)
        except UnsupportedType as error:
            raise ModelFileError(f"{self._file.path.name}: tensor {tensor.name}: {error}") from error
        return choose_matmul(family, self._cpu, self._cap, self._check)
