"""`gemmule quantize`: a GGUF model with its matrices in another type, as a GGUF file. Knows no architecture.

Matrices are taken to f32 and quantised as llama.cpp's reference does it, row by row; vectors (norms, biases) and all
metadata stay as they are. The file is written beside its name and renamed when it is whole. Quantising what is
quantised loses twice: start from F16 or F32 where there is a choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from service.errors import SettingsError
from service.gguf.metadata import Metadata
from service.gguf.reader import GGUFFile, TensorInfo, open_gguf
from service.gguf.types import GGMLType, ValueType

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32}
"""What can be written, with the number that `general.file_type` has for a file mostly of it."""

OUTER = ("token_embd.weight", "output.weight")
CHUNK_ELEMENTS = 1 << 22  # in f32 at a time
DROPPED = ("general.file_type", "general.architecture", "general.quantization_version")

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Wish:
    """Types by name, in any case. `outer`: of the embedding and the output, None: as the others."""

    kind: str
    outer: str | None = None

    def of(self, tensor: TensorInfo) -> GGMLType:
        """Vectors keep theirs, and so does a matrix whose rows the type's blocks do not divide."""
        wanted = GGMLType[self.outer.upper() if self.outer and tensor.name in OUTER else self.kind.upper()]
        is_matrix = tensor.num_rows > 1 and len(tensor.shape) > 1
        return wanted if is_matrix and tensor.row_elements % wanted.block_size == 0 else tensor.type

    def check(self) -> None:
        for name in (self.kind, self.outer or self.kind):
            if name.upper() not in FILE_TYPES:
                raise SettingsError(f"cannot quantise to {name!r}; possible are {', '.join(FILE_TYPES).lower()}")


def quantise(source: Path, target: Path, wish: Wish, progress: Callable[[str, int, int], None]) -> int:
    """-> bytes written. `progress(tensor, done, tensors)`. ModelFileError for a bad source, SettingsError for a type
    that cannot be written or a target that is the source.
    """
    wish.check()
    if target.exists() and target.samefile(source):
        raise SettingsError(f"{target} is the model itself; name another file")
    unfinished = target.with_name(f"{target.name}.unfinished")
    with open_gguf(source) as file:
        try:
            _write(file, unfinished, wish, progress)
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def _write(file: GGUFFile, path: Path, wish: Wish, progress: Callable[[str, int, int], None]) -> None:
    writer = gguf.GGUFWriter(path, str(file.metadata.get("general.architecture", "")))
    try:
        _copy_metadata(file.metadata, writer)
        writer.add_file_type(FILE_TYPES[wish.kind.upper()])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        tensors = list(file.tensors.values())
        for tensor in tensors:
            kind = wish.of(tensor)
            shape = (*tensor.shape[:-1], kind.row_bytes(tensor.row_elements))
            num_bytes = tensor.num_rows * shape[-1]
            raw_type = gguf.GGMLQuantizationType(kind.value)
            writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), num_bytes, raw_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for index, tensor in enumerate(tensors):
            writer.write_tensor_data(_converted(file, tensor, wish.of(tensor)))
            progress(tensor.name, index + 1, len(tensors))
    finally:
        writer.close()


def _copy_metadata(metadata: Metadata, writer: gguf.GGUFWriter) -> None:
    for key in metadata:
        if key in DROPPED or key.startswith("split."):
            continue
        field = metadata.field(key)
        value_type = gguf.GGUFValueType(field.type.value)
        if field.count is None:
            writer.add_key_value(key, metadata[key], value_type)
        else:
            array = gguf.GGUFValueType(ValueType.ARRAY.value)
            writer.add_key_value(key, metadata[key], array, sub_type=value_type)


def _converted(file: GGUFFile, tensor: TensorInfo, kind: GGMLType) -> Bytes:
    """u8[num_rows, row_bytes]"""
    rows = file.data(tensor.name)
    if kind is tensor.type:
        return rows
    made = np.empty((tensor.num_rows, kind.row_bytes(tensor.row_elements)), np.uint8)
    step = max(1, CHUNK_ELEMENTS // tensor.row_elements)
    source, wanted = gguf.GGMLQuantizationType(tensor.type.value), gguf.GGMLQuantizationType(kind.value)
    for start in range(0, tensor.num_rows, step):
        part = rows[start : start + step]
        floats = gguf.quants.dequantize(_numbers(part, tensor.type), source).astype(np.float32, copy=False)
        made[start : start + step] = gguf.quants.quantize(floats, wanted).view(np.uint8)
    return made


def _numbers(rows: Bytes, kind: GGMLType) -> npt.NDArray[np.generic]:
    """The package takes F32 and F16 as numbers, all others as bytes."""
    return rows.view({GGMLType.F32: np.float32, GGMLType.F16: np.float16}.get(kind, np.uint8))
