"""Weights of one matmul: tensors side by side and the micro-kernels chosen for them. Packs nothing."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.select import MatmulChoice
from service.gguf.reader import TensorInfo


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights f32[n, k] to be packed; `tensors` follow each other along n, from `column` on in the op's output."""

    tensors: tuple[TensorInfo, ...]
    choice: MatmulChoice
    column: int

    @property
    def n(self) -> int:
        return sum(tensor.num_rows for tensor in self.tensors)

    @property
    def k(self) -> int:
        return self.tensors[0].row_elements

    @property
    def num_panels(self) -> int:
        return -(-self.n // self.choice.rhs.nr)

    @property
    def packed_bytes(self) -> int:
        return self.num_panels * self.choice.rhs.panel_bytes(self.k)

    @property
    def source_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.tensors)
