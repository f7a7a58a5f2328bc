"""Safetensors files, mapped: a header of JSON that nothing is believed of, and tensors as they lie. Knows no model.

u64 length of the header | header: {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__"} | data
Little-endian; offsets count from the data's first byte and cover it without holes. Source: huggingface/safetensors.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import ModelFileError
from service.gguf.cursor import quoted
from service.huggingface.document import Document, parse_object

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 1 << 16
MAX_FILES = 1 << 10
MAX_DIMENSIONS = 4
DTYPES: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """`offset`: in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    mapping: mmap.mmap

    def rows(self) -> npt.NDArray[np.uint8]:
        """u8[num_rows, row bytes]; a vector is one row."""
        num_bytes = math.prod(self.shape) * DTYPES[self.dtype]
        raw = np.frombuffer(self.mapping, np.uint8, num_bytes, self.offset)
        return raw.reshape(math.prod(self.shape[:-1]), -1)


def open_folder(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a model in one file, or in those that its index names. ModelFileError on whatever is wrong."""
    index = folder / INDEX
    if not index.is_file():
        return open_file(folder / SINGLE)
    weight_map = Document.read(index).part("weight_map").values
    names = sorted({str(name) for name in weight_map.values()})
    if not 1 <= len(names) <= MAX_FILES:
        raise ModelFileError(f"{INDEX}: {len(names)} files; 1 to {MAX_FILES} are possible")
    found: dict[str, StoredTensor] = {}
    for name in names:
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise ModelFileError(f"{INDEX}: {quoted(name)} is no name of a safetensors file beside it")
        for tensor in open_file(folder / name).values():
            if weight_map.get(tensor.name) != name:
                raise ModelFileError(f"{name}: tensor {quoted(tensor.name)} stands here, and not in the index")
            found[tensor.name] = tensor
    missing = next((name for name in weight_map if name not in found), None)
    if missing is not None:
        raise ModelFileError(f"{INDEX}: tensor {quoted(missing)} is in none of the files")
    return found


def open_file(path: Path) -> dict[str, StoredTensor]:
    mapping = _map(path)
    length = struct.unpack_from("<Q", mapping)[0] if len(mapping) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(mapping) - 8):
        raise ModelFileError(
            f"{path.name}: no safetensors file: a header of {length} bytes in a file of {len(mapping)}; 2 to "
            f"{MAX_HEADER_BYTES} are possible"
        )
    header = parse_object(mapping[8 : 8 + length], f"{path.name}, header")
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise ModelFileError(f"{path.name}: {len(header)} tensors; at most {MAX_TENSORS} are supported")
    begin, size = 8 + length, len(mapping) - 8 - length
    spans = []
    found = {}
    for name, entry in header.items():
        dtype, shape, span = _entry(f"{path.name}: tensor {quoted(name)}", entry, size)
        spans.append((*span, name))
        found[name] = StoredTensor(name, dtype, shape, begin + span[0], mapping)
    _check_cover(path.name, sorted(spans), size)
    return found


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise ModelFileError(f"{path.name}: the file is empty") from None
    except OSError as error:
        raise ModelFileError(f"cannot open the model file {str(path)!r}: {error.strerror or error}") from None


def _entry(what: str, entry: Any, size: int) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """Type, shape and span of one tensor, each checked on its own and against the others."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"{what} is {quoted(str(entry))}; dtype, shape and data_offsets belong there")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in tuple(DTYPES):
        raise ModelFileError(f"{what} is of type {quoted(str(dtype))}; supported are {', '.join(DTYPES)}")
    if not _are_sizes(shape) or not 1 <= len(shape) <= MAX_DIMENSIONS or min(shape) < 1:
        raise ModelFileError(f"{what} has the shape {quoted(str(shape))}; 1 to {MAX_DIMENSIONS} sizes from 1 on")
    if not _are_sizes(span) or len(span) != 2 or not span[0] <= span[1] <= size:
        raise ModelFileError(f"{what} lies at {quoted(str(span))}; the data have {size} bytes")
    needed = math.prod(shape) * DTYPES[dtype]
    if span[1] - span[0] != needed:
        raise ModelFileError(f"{what} has {span[1] - span[0]} bytes; {dtype} {shape} takes {needed}")
    return dtype, tuple(shape), (span[0], span[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _check_cover(source: str, spans: list[tuple[int, int, str]], size: int) -> None:
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise ModelFileError(f"{source}: tensor {quoted(name)} begins at {start}, the one before it ends at {end}")
        end = stop
    if end != size:
        raise ModelFileError(f"{source}: the tensors end at {end}; the data have {size} bytes")
