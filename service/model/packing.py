"""Packed weights as one range of bytes: where each matrix lies in it, and what any piece of it is. Knows no files.

A piece is made from the panels that it overlaps and from nothing else, so pieces can be made in any order and by many
threads. The key says all that the bytes follow from: the model file, the matrices, and what each layout makes of a
small probe, so that a packing which changes changes the key with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.variant import Family, PackedRhs
from kernels.quant.random_rows import random_weights
from service.gguf.reader import GGUFFile, TensorInfo
from service.model.matrix import Matrix

Bytes = npt.NDArray[np.uint8]
ALIGNMENT = 64
"""Of a matrix."""
WHOLE = 4096
"""The range is a multiple of it."""
CHUNK_BYTES = 1 << 20
"""Packed at a time: source, scratch and result stay in a core's cache."""
PROBE_K, PROBE_SEED = 256, 5


@dataclass(frozen=True, slots=True)
class Placed:
    """A matrix whose panels begin at `offset`."""

    matrix: Matrix
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.matrix.packed_bytes


class Packing:
    """All matrices of a model, in the order of a step."""

    def __init__(self, file: GGUFFile, matrices: Sequence[Matrix]) -> None:
        self._file = file
        placed, end = [], 0
        for matrix in matrices:
            placed.append(Placed(matrix, end))
            end += -(-matrix.packed_bytes // ALIGNMENT) * ALIGNMENT
        self.placed = tuple(placed)
        self.num_bytes = -(-end // WHOLE) * WHOLE

    def fill(self, first: int, into: Bytes) -> None:
        """into = the range's bytes from `first` on. Pages of the file that are done with are given back."""
        into[:] = 0  # what lies between matrices, and past the last
        end = first + into.size
        for placed in self.placed:
            if placed.offset < end and placed.end > first:
                self._fill_from(placed, max(first, placed.offset), min(end, placed.end), first, into)

    def _fill_from(self, placed: Placed, start: int, end: int, first: int, into: Bytes) -> None:
        """The bytes [start, end) of the range, all of them this matrix's."""
        matrix = placed.matrix
        panel_bytes = matrix.choice.rhs.panel_bytes(matrix.k)
        step = max(1, CHUNK_BYTES // panel_bytes)
        panel, stop = (start - placed.offset) // panel_bytes, -(-(end - placed.offset) // panel_bytes)
        while panel < stop:
            packed, num_panels = self._panels(matrix, panel, min(step, stop - panel))
            at = placed.offset + panel * panel_bytes
            here, there = max(start, at), min(end, at + packed.size)
            into[here - first : there - first] = packed[here - at : there - at]
            panel += num_panels

    def _panels(self, matrix: Matrix, first: int, count: int) -> tuple[Bytes, int]:
        """Up to `count` panels from the `first` on, of one tensor -> (their bytes, how many)"""
        nr = matrix.choice.rhs.nr
        tensor, row = _tensor_at(matrix, first * nr)
        end = min(row + count * nr, tensor.num_rows)
        packed = matrix.choice.rhs.pack(self._file.data(tensor.name)[row:end]).reshape(-1)
        self._file.forget_rows(tensor, row, end)
        return packed, -(-(end - row) // nr)

    def key(self, source: str) -> str:
        """source: digest of the model file."""
        total = hashlib.blake2b(source.encode(), digest_size=16)
        probes: dict[str, str] = {}
        for placed in self.placed:
            matrix = placed.matrix
            family, layout = matrix.choice.family, matrix.choice.rhs.layout_id
            if layout not in probes:
                probes[layout] = probe(family, matrix.choice.rhs)
            names = " ".join(tensor.name for tensor in matrix.tensors)
            total.update(f"{placed.offset} {names} {matrix.n} {matrix.k} {layout} {probes[layout]}\n".encode())
        return total.hexdigest()

    @property
    def layouts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(placed.matrix.choice.rhs.layout_id for placed in self.placed))


def _tensor_at(matrix: Matrix, row: int) -> tuple[TensorInfo, int]:
    """The tensor that a row of the matrix belongs to, and the row in it."""
    for tensor in matrix.tensors:
        if row < tensor.num_rows:
            return tensor, row
        row -= tensor.num_rows
    raise AssertionError("past the last row")


def probe(family: Family, layout: PackedRhs) -> str:
    """Digest of a panel and a column more, packed."""
    raw = random_weights(family.source, layout.nr + 1, max(PROBE_K, family.k_step), PROBE_SEED)
    return hashlib.blake2b(layout.pack(raw).tobytes(), digest_size=16).hexdigest()


Provide = Callable[[Packing], Bytes]
"""The bytes of a packing: made, or found where they were kept."""
