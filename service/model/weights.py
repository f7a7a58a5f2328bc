"""The tensors of a model file, checked against the configuration and packed for the chosen micro-kernels.

Tensors that are multiplied with the same activations stand side by side (query, key, value; gate, up): one matmul.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.cpu import CPU
from kernels.registry import UnsupportedType, family_for
from kernels.select import Check, MatmulChoice, choose_together, unchecked
from service.errors import ModelFileError
from service.gguf.reader import GGUFFile, TensorInfo
from service.model.config import LlamaConfig
from service.model.memory import Arena


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


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    matrix: Matrix
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: npt.NDArray[np.float32]
    qkv: tuple[PackedMatrix, ...]
    attention_output: tuple[PackedMatrix, ...]
    feed_forward_norm: npt.NDArray[np.float32]
    gate_up: tuple[PackedMatrix, ...]
    down: tuple[PackedMatrix, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """`embedding` stays in the file's mapping: a step reads one row a token."""

    embedding: TensorInfo
    embedding_rows: npt.NDArray[np.uint8]
    layers: tuple[Layer, ...]
    output_norm: npt.NDArray[np.float32]
    output: tuple[PackedMatrix, ...]

    def matrices(self) -> Iterator[PackedMatrix]:
        for layer in self.layers:
            yield from (*layer.qkv, *layer.attention_output, *layer.gate_up, *layer.down)
        yield from self.output

    @property
    def packed_bytes(self) -> int:
        return sum(packed.matrix.packed_bytes for packed in self.matrices())


class WeightLoader:
    """Reads one file for one CPU. `check`: what a pair of micro-kernels must pass before weights are packed for it."""

    def __init__(
        self, file: GGUFFile, config: LlamaConfig, cpu: CPU, cap: str | None, check: Check = unchecked
    ) -> None:
        self._file, self._config, self._cpu, self._cap, self._check = file, config, cpu, cap, check
        self._arena: Arena | None = None
        self._used: set[str] = set()

    def load(self) -> Weights:
        """Checks every tensor before it packs the first. What nothing reads is refused: it would be missed."""
        c = self._config
        embedding = self._tensor("token_embd.weight", None, c.embedding)
        output = self._find("output.weight")
        if output is not None:
            self._tensor("output.weight", embedding.num_rows, c.embedding)
        planned = [self._plan_layer(index) for index in range(c.num_layers)]
        output_norm = self._vector("output_norm.weight", c.embedding)
        self._refuse_unused()
        logits = self._matmul((output or embedding,))
        groups = [group for layer in planned for group in layer.groups] + [logits]
        self._arena = Arena([matrix.packed_bytes for group in groups for matrix in group])
        layers = tuple(
            Layer(
                layer.attention_norm,
                self._pack(layer.groups[0]),
                self._pack(layer.groups[1]),
                layer.feed_forward_norm,
                self._pack(layer.groups[2]),
                self._pack(layer.groups[3]),
            )
            for layer in planned
        )
        return Weights(embedding, self._file.data(embedding.name), layers, output_norm, self._pack(logits))

    def _plan_layer(self, index: int) -> _PlannedLayer:
        c, prefix = self._config, f"blk.{index}."
        q = self._tensor(f"{prefix}attn_q.weight", c.query_columns, c.embedding)
        k = self._tensor(f"{prefix}attn_k.weight", c.kv_columns, c.embedding)
        v = self._tensor(f"{prefix}attn_v.weight", c.kv_columns, c.embedding)
        o = self._tensor(f"{prefix}attn_output.weight", c.embedding, c.query_columns)
        gate = self._tensor(f"{prefix}ffn_gate.weight", c.feed_forward, c.embedding)
        up = self._tensor(f"{prefix}ffn_up.weight", c.feed_forward, c.embedding)
        down = self._tensor(f"{prefix}ffn_down.weight", c.embedding, c.feed_forward)
        return _PlannedLayer(
            self._vector(f"{prefix}attn_norm.weight", c.embedding),
            self._vector(f"{prefix}ffn_norm.weight", c.embedding),
            (self._matmul((q, k, v)), self._matmul((o,)), self._matmul((gate, up)), self._matmul((down,))),
        )

    def _find(self, name: str) -> TensorInfo | None:
        self._used.add(name)
        return self._file.tensors.get(name)

    def _refuse_unused(self) -> None:
        unused = sorted(self._file.tensors.keys() - self._used)
        if unused:
            more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
            raise ModelFileError(
                f"{self._file.path.name}: tensor {unused[0]}{more} has no place in a llama of "
                f"{self._config.num_layers} layers; without it the answers would be wrong"
            )

    def _tensor(self, name: str, rows: int | None, columns: int) -> TensorInfo:
        tensor = self._find(name)
        if tensor is None:
            raise ModelFileError(f"{self._file.path.name}: tensor {name} is missing")
        expected = (tensor.num_rows if rows is None else rows, columns)
        if tensor.shape != expected:
            raise ModelFileError(
                f"{self._file.path.name}: tensor {name} has shape {list(tensor.shape)}, the metadata implies "
                f"{list(expected)}"
            )
        return tensor

    def _vector(self, name: str, size: int) -> npt.NDArray[np.float32]:
        tensor = self._find(name)
        if tensor is None or tensor.shape != (size,) or tensor.type.name != "F32":
            found = "missing" if tensor is None else f"{tensor.type.name} {list(tensor.shape)}"
            raise ModelFileError(f"{self._file.path.name}: tensor {name} is {found}; it has to be F32 [{size}]")
        return self._file.data(name).reshape(-1).view(np.float32)

    def _choose(self, tensors: Sequence[TensorInfo]) -> tuple[MatmulChoice, ...]:
        """One choice for each, all of which read the same activations."""
        families = []
        for tensor in tensors:
            try:
                families.append(family_for(tensor.type.name))
            except UnsupportedType as error:
                raise ModelFileError(f"{self._file.path.name}: tensor {tensor.name}: {error}") from error
        choices = choose_together(families, self._cpu, self._cap, self._check)
        if choices is None:
            names = ", ".join(f"{tensor.name} {tensor.type.name}" for tensor in tensors)
            raise ModelFileError(f"{self._file.path.name}: quantised and float weights side by side: {names}")
        return choices

    def _matmul(self, tensors: Sequence[TensorInfo]) -> tuple[Matrix, ...]:
        """Neighbours of one type become one matrix, if the first fills whole panels."""
        made: list[Matrix] = []
        column = 0
        for tensor, choice in zip(tensors, self._choose(tensors), strict=True):
            last = made[-1] if made else None
            if last is not None and last.choice == choice and last.n % choice.rhs.nr == 0:
                made[-1] = Matrix((*last.tensors, tensor), choice, last.column)
            else:
                made.append(Matrix((tensor,), choice, column))
            column += tensor.num_rows
        return tuple(made)

    def _pack(self, matrices: tuple[Matrix, ...]) -> tuple[PackedMatrix, ...]:
        assert self._arena is not None
        packed = []
        for matrix in matrices:
            rows = [self._file.data(tensor.name) for tensor in matrix.tensors]
            data = self._arena.take(matrix.packed_bytes)
            raw = rows[0] if len(rows) == 1 else np.concatenate(rows)
            data[:] = matrix.choice.rhs.pack(raw).reshape(-1)
            packed.append(PackedMatrix(matrix, data))
        return tuple(packed)


@dataclass(frozen=True, slots=True)
class _PlannedLayer:
    """`groups`: qkv, attention output, gate and up, down."""

    attention_norm: npt.NDArray[np.float32]
    feed_forward_norm: npt.NDArray[np.float32]
    groups: tuple[tuple[Matrix, ...], ...]
