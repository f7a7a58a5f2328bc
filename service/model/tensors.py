"""The tensors of a model file by name, checked against what an architecture expects. Knows no ops, packs nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.errors import ModelFileError
from service.gguf.reader import GGUFFile, TensorInfo

Floats = npt.NDArray[np.float32]


class TensorSource:
    """Remembers what was asked for: what nobody asks for is refused in the end."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self._used: set[str] = set()

    def find(self, name: str) -> TensorInfo | None:
        self._used.add(name)
        return self.file.tensors.get(name)

    def matrix(self, name: str, rows: int | None, columns: int) -> TensorInfo:
        """[rows, columns] of any type; `rows` None: as many as there are."""
        tensor = self.find(name)
        if tensor is None:
            raise ModelFileError(f"{self.file.path.name}: tensor {name} is missing")
        expected = (tensor.num_rows if rows is None else rows, columns)
        if tensor.shape != expected:
            raise ModelFileError(
                f"{self.file.path.name}: tensor {name} has shape {list(tensor.shape)}, the metadata implies "
                f"{list(expected)}"
            )
        return tensor

    def vector(self, name: str, size: int) -> Floats:
        tensor = self.find(name)
        if tensor is None or tensor.shape != (size,) or tensor.type.name != "F32":
            found = "missing" if tensor is None else f"{tensor.type.name} {list(tensor.shape)}"
            raise ModelFileError(f"{self.file.path.name}: tensor {name} is {found}; it has to be F32 [{size}]")
        return self.file.data(name).reshape(-1).view(np.float32)

    def vector_if_any(self, name: str, size: int) -> Floats | None:
        return None if self.find(name) is None else self.vector(name, size)

    def refuse_unused(self, architecture: str, num_layers: int) -> None:
        """Raises ModelFileError if a tensor was never asked for: it was meant to be computed with."""
        unused = sorted(self.file.tensors.keys() - self._used)
        if unused:
            more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
            raise ModelFileError(
                f"{self.file.path.name}: tensor {unused[0]}{more} has no place in a {architecture} of "
                f"{num_layers} layers; without it the answers would be wrong"
            )
