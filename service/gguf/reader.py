"""Opens a GGUF model, in one file or in several parts: header, metadata, tensor table. Maps the weights, reads none.
Knows no model architecture.

Format: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian.
"""

import math
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import ModelFileError
from service.gguf.cursor import Cursor, quoted
from service.gguf.mapped_part import MappedPart
from service.gguf.metadata import MIN_PAIR_BYTES, Metadata, scan_metadata
from service.gguf.parts import Part, part_paths, read_part
from service.gguf.row_types import GGML_I8, RowType, read_row_types
from service.gguf.types import GGML_TYPES, GGMLType

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 16
MAX_PAIRS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_NAME_BYTES = 64  # GGUF specification
MAX_DIMENSIONS = 4
MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # name length | name | dimensions | one dimension | type | offset

_type_names = ", ".join(f"{t.name} ({t.value})" for t in GGMLType)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as the table describes it. `shape` has NumPy's order: rows first. `offset` is from the start of its
    file, the `part`th of the model's.
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLType | RowType
    offset: int
    num_bytes: int
    part: int = 0

    @property
    def row_elements(self) -> int:
        return self.shape[-1]

    @property
    def num_rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.type.row_bytes(self.row_elements)


class GGUFFile:
    """An open model. Views from `data` keep the mapping alive, `close` only forgets it: nothing can dangle.

    `path`, `version` and `metadata` are those of the first part, `parts` has one for each.
    """

    def __init__(
        self,
        path: Path,
        version: int,
        metadata: Metadata,
        tensors: Mapping[str, TensorInfo],
        parts: Sequence[MappedPart],
    ) -> None:
        self.path = path
        self.version = version
        self.metadata = metadata
        self.tensors = tensors
        self.parts: Sequence[MappedPart] = parts

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        """The raw rows of a tensor, without a copy -> u8[num_rows, row_bytes], read-only."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise ModelFileError(f"{self.path.name}: there is no tensor {quoted(name)} among its {len(self.tensors)}")
        assert self.parts, "the file is closed"
        raw = np.frombuffer(self.parts[tensor.part].mapping, np.uint8, tensor.num_bytes, tensor.offset)
        return raw.reshape(tensor.num_rows, tensor.row_bytes)

    def forget_rows(self, tensor: TensorInfo, first: int, end: int) -> None:
        """These rows will not be read soon: they need not stay resident. Reading them still works."""
        assert self.parts, "the file is closed"
        start, stop = (tensor.offset + row * tensor.row_bytes for row in (first, end))
        self.parts[tensor.part].forget(start, stop)

    def forget(self) -> None:
        """As `forget_rows`, of all rows and the headers."""
        for part in self.parts:
            part.forget(0, len(part.mapping))

    def close(self) -> None:
        self.parts = ()

    def __enter__(self) -> "GGUFFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_gguf(path: str | Path) -> GGUFFile:
    """Maps `path` and checks everything that its header claims. Of a model in parts any one may be given, the others
    have to lie beside it. ModelFileError, one line, on whatever is wrong.
    """
    path = Path(path)
    one = _open_file(path, 0)
    part = read_part(one.metadata, path.name)
    if part.count == 1:
        return one
    return _join([_open_part(other, Part(index, part.count)) for index, other in enumerate(part_paths(path, part))])


def _open_file(path: Path, part: int) -> GGUFFile:
    mapping, modified_ns = _map(path)
    cursor = Cursor(mapping, path.name)
    version, num_tensors, num_pairs = _header(cursor)
    metadata = scan_metadata(cursor, num_pairs)
    row_types = read_row_types(metadata, path.name)
    tensors = _tensor_table(cursor, num_tensors, _alignment(cursor, metadata), part, row_types)
    return GGUFFile(path, version, metadata, tensors, [MappedPart(mapping, modified_ns, cursor.position)])


def _open_part(path: Path, expected: Part) -> GGUFFile:
    file = _open_file(path, expected.index)
    found = read_part(file.metadata, path.name)
    if found != expected:
        raise ModelFileError(
            f"{path.name}: says that it is part {found.index + 1} of {found.count}; its name says "
            f"{expected.index + 1} of {expected.count}"
        )
    return file


def _join(parts: Sequence[GGUFFile]) -> GGUFFile:
    """One model; the metadata are those of the first part."""
    first = parts[0]
    tensors: dict[str, TensorInfo] = {}
    for file in parts:
        for name, tensor in file.tensors.items():
            if name in tensors:
                raise ModelFileError(f"{file.path.name}: tensor {quoted(name)} is in another part, too")
            tensors[name] = tensor
    claimed = first.metadata.get("split.tensors.count", len(tensors))
    if claimed != len(tensors):
        raise ModelFileError(
            f"{first.path.name}: {quoted(str(claimed))} tensors are claimed; its {len(parts)} parts have {len(tensors)}"
        )
    mapped = [part for file in parts for part in file.parts]
    return GGUFFile(first.path, first.version, first.metadata, tensors, mapped)


def _map(path: Path) -> tuple[mmap.mmap, int]:
    """Also when it was last changed."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), os.fstat(file.fileno()).st_mtime_ns
    except ValueError:
        raise ModelFileError(f"{path.name}: the file is empty; a GGUF file begins with {MAGIC!r}") from None
    except OSError as error:
        raise ModelFileError(f"cannot open the model file {str(path)!r}: {error.strerror or error}") from None


def _header(cursor: Cursor) -> tuple[int, int, int]:
    magic = cursor.buffer[:4]
    if magic != MAGIC:
        cursor.fail(f"not a GGUF file: it begins with {magic!r}, not with {MAGIC!r}")
    cursor.skip(4, "the magic")
    version = cursor.u32("the version")
    if version and not version & 0xFFFF:
        cursor.fail("a big-endian GGUF file; little-endian ones are supported (convert it with gguf-convert-endian)")
    if version not in VERSIONS:
        cursor.fail(f"GGUF version {version}; versions {VERSIONS[0]} and {VERSIONS[1]} are supported")
    num_tensors = cursor.u64("the number of tensors")
    num_pairs = cursor.u64("the number of metadata keys")
    if num_tensors > MAX_TENSORS:
        cursor.fail(f"the header claims {num_tensors} tensors; at most {MAX_TENSORS} are supported")
    if num_pairs > MAX_PAIRS:
        cursor.fail(f"the header claims {num_pairs} metadata keys; at most {MAX_PAIRS} are supported")
    needed = num_tensors * MIN_TENSOR_BYTES + num_pairs * MIN_PAIR_BYTES
    cursor.need(needed, f"a header with {num_tensors} tensors and {num_pairs} metadata keys")
    return version, num_tensors, num_pairs


def _alignment(cursor: Cursor, metadata: Metadata) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        cursor.fail(f"general.alignment is {quoted(str(alignment))}; it has to be a power of two up to {MAX_ALIGNMENT}")
    return alignment


def _tensor_table(
    cursor: Cursor, num_tensors: int, alignment: int, part: int, row_types: Mapping[str, RowType]
) -> dict[str, TensorInfo]:
    entries = [_tensor_entry(cursor, index, row_types) for index in range(num_tensors)]
    data_start = -(-cursor.position // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, ggml_type, offset in entries:
        what = f"tensor {quoted(name)}"
        if name in tensors:
            cursor.fail(f"{what} comes twice; names are unique")
        if offset % alignment:
            cursor.fail(f"{what} lies at data offset {offset}, which is not a multiple of the alignment {alignment}")
        num_bytes = math.prod(shape[:-1]) * ggml_type.row_bytes(shape[-1])
        end = data_start + offset + num_bytes
        if end > cursor.size:
            cursor.fail(
                f"truncated or corrupted: {what} ({ggml_type.name}, {num_bytes} bytes) ends at offset {end}, "
                f"the file has {cursor.size} bytes"
            )
        tensors[name] = TensorInfo(name, shape, ggml_type, data_start + offset, num_bytes, part)
    _refuse_overlap(cursor, tensors)
    missing = next((name for name in row_types if name not in tensors), None)
    if missing is not None:
        cursor.fail(f"gemmule.tensors.names has {quoted(missing)}, which is none of the {len(tensors)} tensors")
    return tensors


def _tensor_entry(
    cursor: Cursor, index: int, row_types: Mapping[str, RowType]
) -> tuple[str, tuple[int, ...], GGMLType | RowType, int]:
    """Name, shape, type and data offset as they stand in the table, each checked on its own."""
    name = cursor.name(f"the name of tensor {index}", MAX_NAME_BYTES)
    what = f"tensor {quoted(name)}"
    num_dimensions = cursor.u32(f"the number of dimensions of {what}")
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        cursor.fail(f"{what} has {num_dimensions} dimensions; 1 to {MAX_DIMENSIONS} are possible")
    shape = cursor.u64s(num_dimensions, f"the shape of {what}")[::-1]  # the file has the row length first
    if min(shape) < 1 or math.prod(shape) >= 1 << 63:
        cursor.fail(f"{what} has the shape {list(shape)}; every dimension is at least 1 and the product below 2^63")
    number = cursor.u32(f"the type of {what}")
    if name in row_types:
        return (
            name,
            _row_shape(cursor, what, shape, number, row_types[name]),
            row_types[name],
            cursor.u64(f"the offset of {what}"),
        )
    ggml_type = GGML_TYPES.get(number)
    if ggml_type is None:
        cursor.fail(f"{what} has GGML type {number}; supported are {_type_names}")
    if shape[-1] % ggml_type.block_size:
        cursor.fail(
            f"{what} has rows of {shape[-1]} elements; {ggml_type.name} needs a multiple of {ggml_type.block_size}"
        )
    return name, shape, ggml_type, cursor.u64(f"the offset of {what}")


def _row_shape(cursor: Cursor, what: str, shape: tuple[int, ...], number: int, row_type: RowType) -> tuple[int, ...]:
    """The shape of the weights, from that of the bytes."""
    columns = row_type.num_elements(shape[-1])
    if number != GGML_I8 or columns is None:
        cursor.fail(
            f"{what} is said to hold {row_type.name}, and has GGML type {number} in rows of {shape[-1]}; it has to be "
            f"I8 ({GGML_I8}) in rows of the bytes that a multiple of {row_type.block_size} elements takes"
        )
    return (*shape[:-1], columns)


def _refuse_overlap(cursor: Cursor, tensors: Mapping[str, TensorInfo]) -> None:
    ordered = sorted(tensors.values(), key=attrgetter("offset"))
    for before, after in pairwise(ordered):
        if before.offset + before.num_bytes > after.offset:
            cursor.fail(
                f"tensor {quoted(before.name)} ends at offset {before.offset + before.num_bytes}, "
                f"after tensor {quoted(after.name)} has begun at {after.offset}"
            )
