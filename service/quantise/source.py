"""What a model is read from while it is quantised: metadata, and tensors as f32 or as they lie. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import gguf
import numpy as np
import numpy.typing as npt

from service.gguf.pair import Pair
from service.gguf.reader import GGUFFile, TensorInfo, open_gguf
from service.gguf.row_types import PREFIX, RowType
from service.gguf.types import GGMLType, ValueType
from service.quantise.recipe import TensorType

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """`shape`: rows first. `type`: as it lies in the source."""

    shape: tuple[int, ...]
    type: TensorType


class ModelSource(Protocol):
    """An open model, and a context that closes it. Every method raises ModelFileError where the source is wrong."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None: ...

    @property
    def architecture(self) -> str: ...

    @property
    def tensors(self) -> Mapping[str, SourceTensor]: ...

    def pairs(self) -> Iterator[Pair]:
        """All metadata but the architecture, the file type and what describes the types of tensors."""

    def rows(self, name: str) -> Bytes:
        """u8[num_rows, row bytes] as they lie."""

    def floats(self, name: str, start: int, stop: int) -> Floats:
        """f32[stop - start, row elements]"""


class GGUFSource:
    """A GGUF file, or the parts of one."""

    DROPPED = ("general.file_type", "general.architecture", "general.quantization_version")

    def __init__(self, path: Path) -> None:
        self._file: GGUFFile = open_gguf(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    @property
    def architecture(self) -> str:
        return str(self._file.metadata.get("general.architecture", ""))

    @property
    def tensors(self) -> Mapping[str, SourceTensor]:
        return {name: SourceTensor(tensor.shape, tensor.type) for name, tensor in self._file.tensors.items()}

    def pairs(self) -> Iterator[Pair]:
        metadata = self._file.metadata
        for key in metadata:
            if key in self.DROPPED or key.startswith(("split.", PREFIX)):
                continue
            field = metadata.field(key)
            is_array = field.count is not None
            yield Pair(
                key, metadata[key], ValueType.ARRAY if is_array else field.type, field.type if is_array else None
            )

    def rows(self, name: str) -> Bytes:
        return self._file.data(name)

    def floats(self, name: str, start: int, stop: int) -> Floats:
        return dequantised(self._file.tensors[name], self._file.data(name)[start:stop])


def dequantised(tensor: TensorInfo, rows: Bytes) -> Floats:
    """u8[rows, row bytes] of this tensor -> f32[rows, row elements]"""
    if isinstance(tensor.type, RowType):
        return tensor.type.format.dequantise(rows)
    numbers = rows.view({GGMLType.F32: np.float32, GGMLType.F16: np.float16}.get(tensor.type, np.uint8))
    floats = gguf.quants.dequantize(numbers, gguf.GGMLQuantizationType(tensor.type.value))
    return np.asarray(floats, np.float32)
