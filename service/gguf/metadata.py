"""The key-value part of a GGUF file: checked when it is scanned, decoded when it is read. Knows no key's meaning."""

import contextlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from mmap import mmap
from struct import calcsize, unpack_from
from typing import Any, TypeAlias

import numpy as np

from service.errors import ModelFileError
from service.gguf.cursor import Cursor, quoted
from service.gguf.types import VALUE_TYPES, ValueType

_type_names = ", ".join(f"{t.name} ({t.value})" for t in ValueType)

MAX_KEY_BYTES = 65_535  # GGUF specification
MAX_ARRAY_ELEMENTS = 1 << 24
"""64 times the largest vocabulary in use; bounds the time that a hostile file can cost."""

LENGTH_BYTES = 8  # in front of a string
MIN_PAIR_BYTES = 8 + 1 + 4 + 1  # key length | key | type | the shortest value

Value: TypeAlias = Any
"""bool, int, float, str, or a list of one of these."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where a value lies. `count` is None for a scalar; `offset` is that of the first element.

    strings: offsets of the strings' lengths, and where the last string ends.
    """

    type: ValueType
    offset: int
    count: int | None
    strings: "array[int] | None" = None


class Metadata(Mapping[str, Value]):
    """Python values by key. A value is decoded when it is asked for, which fails on bytes that no value can have. It is
    not kept: a start asks once for the hundred thousand strings of a tokenizer."""

    __slots__ = ("_buffer", "_fields", "_source")

    def __init__(self, buffer: mmap, fields: dict[str, Field], source: str) -> None:
        self._buffer = buffer
        self._fields = fields
        self._source = source

    def __getitem__(self, key: str) -> Value:
        return self._decode(key, self._fields[key])

    def __contains__(self, key: object) -> bool:
        return key in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def field(self, key: str) -> Field:
        """How the value is stored."""
        return self._fields[key]

    def _decode(self, key: str, field: Field) -> Value:
        count = 1 if field.count is None else field.count
        values: list[Any]
        if field.type.code is not None:
            values = list(unpack_from(f"<{count}{field.type.code[1]}", self._buffer, field.offset))
        else:
            assert field.strings is not None
            values = self._strings(key, field.strings)
        if field.type is ValueType.BOOL:
            values = self._booleans(key, values)
        return values[0] if field.count is None else values

    def _booleans(self, key: str, values: list[Any]) -> list[bool]:
        if max(values, default=0) > 1:
            raise ModelFileError(
                f"{self._source}: key {quoted(key)} holds the byte {max(values)} as a boolean; 0 and 1 are possible"
            )
        return [value == 1 for value in values]

    def _strings(self, key: str, offsets: "array[int]") -> list[str]:
        """All at once, unless they hold zeros: their lengths become zeros, at which the decoded whole is split."""
        count = len(offsets) - 1
        start, end = offsets[0], offsets[-1]
        raw = np.frombuffer(self._buffer, np.uint8, end - start, start).copy()
        raw[(np.frombuffer(offsets, np.int64)[:-1, None] - start + np.arange(LENGTH_BYTES)).ravel()] = 0
        if np.count_nonzero(raw) + LENGTH_BYTES * count == raw.size:
            with contextlib.suppress(UnicodeDecodeError):
                return raw.tobytes().decode().split("\0" * LENGTH_BYTES)[1:]
        return self._strings_one_by_one(key, offsets)

    def _strings_one_by_one(self, key: str, offsets: "array[int]") -> list[str]:
        strings: list[str] = []
        try:
            for start, end in pairwise(offsets):
                strings.append(self._buffer[start + LENGTH_BYTES : end].decode())
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self._source}: key {quoted(key)}, string {len(strings)} is not UTF-8: "
                f"byte {error.start} of {quoted(error.object)}"
            ) from None
        return strings


def scan_metadata(cursor: Cursor, num_pairs: int) -> Metadata:
    """Walks the pairs, checks every length against the file's end, and remembers where the values are."""
    fields: dict[str, Field] = {}
    for index in range(num_pairs):
        key = cursor.name(f"metadata key {index}", MAX_KEY_BYTES)
        if key in fields:
            cursor.fail(f"metadata key {quoted(key)} comes twice; keys are unique")
        fields[key] = _scan_value(cursor, f"the value of {quoted(key)}")
    return Metadata(cursor.buffer, fields, cursor.source)


def _scan_value(cursor: Cursor, what: str) -> Field:
    value_type = _scan_type(cursor, what)
    if value_type is not ValueType.ARRAY:
        return _scan_elements(cursor, what, value_type, None)
    element_type = _scan_type(cursor, what)
    if element_type is ValueType.ARRAY:
        cursor.fail(f"{what} is an array of arrays; arrays of scalars and of strings are supported")
    count = cursor.u64(f"the length of {what}")
    if count > MAX_ARRAY_ELEMENTS:
        cursor.fail(f"{what} claims {count} elements; at most {MAX_ARRAY_ELEMENTS} are supported")
    return _scan_elements(cursor, what, element_type, count)


def _scan_type(cursor: Cursor, what: str) -> ValueType:
    number = cursor.u32(f"the type of {what}")
    value_type = VALUE_TYPES.get(number)
    if value_type is None:
        cursor.fail(f"{what} has type {number}; possible are {_type_names}")
    return value_type


def _scan_elements(cursor: Cursor, what: str, value_type: ValueType, count: int | None) -> Field:
    num_elements = 1 if count is None else count
    if value_type.code is not None:
        return Field(value_type, cursor.skip(num_elements * calcsize(value_type.code), what), count)
    strings = cursor.skip_strings(num_elements, what)
    return Field(value_type, strings[0], count, strings)
