"""Tensor types of our own in a GGUF file: which tensors are rows of kernels.quant.channel's formats.

GGML has no number for them. A file holds such rows as a tensor of I8, `row bytes` wide, under the tensor's usual name,
and says what they are in two arrays: `gemmule.tensors.names` and `gemmule.tensors.types`. A reader that does not know
the keys finds a matrix of another shape than the model's, and refuses it. docs/formats.md has the layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kernels.quant.channel import CHANNEL_FORMATS, ChannelFormat
from service.errors import ModelFileError
from service.gguf.cursor import quoted
from service.gguf.fields import integer, strings

PREFIX: Final = "gemmule."
VERSION_KEY: Final = "gemmule.format.version"
NAMES_KEY: Final = "gemmule.tensors.names"
TYPES_KEY: Final = "gemmule.tensors.types"
VERSION: Final = 1
GGML_I8: Final = 24


@dataclass(frozen=True, slots=True)
class RowType:
    """Has the fields of a GGMLType that readers of weights use; `name` as kernels.registry knows it."""

    format: ChannelFormat

    @property
    def name(self) -> str:
        return self.format.name

    @property
    def block_size(self) -> int:
        return self.format.row_block

    def row_bytes(self, num_elements: int) -> int:
        return self.format.row_bytes(num_elements)

    def num_elements(self, row_bytes: int) -> int | None:
        """What `row_bytes` was made of; None if no row has so many bytes."""
        return self.format.num_elements(row_bytes)

    def __repr__(self) -> str:
        return self.name


ROW_TYPES = {form.name.removeprefix(PREFIX): RowType(form) for form in CHANNEL_FORMATS.values()}
"""By the name in a file: QC8, Q4CX, 8DA4W_G32, ..."""


def read_row_types(metadata: Mapping[str, Any], source: str) -> dict[str, RowType]:
    """By tensor. ModelFileError on a version or a type that is not known here."""
    if VERSION_KEY not in metadata and NAMES_KEY not in metadata:
        return {}
    try:
        version = integer(metadata, VERSION_KEY, at_least=0, at_most=1 << 32)
        names, types = strings(metadata, NAMES_KEY), strings(metadata, TYPES_KEY)
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error
    if version != VERSION:
        raise ModelFileError(f"{source}: {VERSION_KEY} is {version}; this version of Gemmule reads {VERSION}")
    if len(names) != len(types) or len(set(names)) != len(names):
        raise ModelFileError(
            f"{source}: {NAMES_KEY} has {len(names)} names, {len(set(names))} of them different, "
            f"{TYPES_KEY} {len(types)} types; they have to be one for one"
        )
    unknown = next((name for name in types if name not in ROW_TYPES), None)
    if unknown is not None:
        raise ModelFileError(f"{source}: {TYPES_KEY} has {quoted(unknown)}; known are {', '.join(ROW_TYPES)}")
    return {name: ROW_TYPES[kind] for name, kind in zip(names, types, strict=True)}
