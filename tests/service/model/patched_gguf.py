"""Changes a written model file in place, byte for byte: what a converter's mistake or a broken disk would leave."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from service.gguf.types import GGMLType

Change = Callable[[bytearray], None]


def patched(source: Path, target: Path, *changes: Change) -> Path:
    """A copy of `source` with the changes."""
    data = bytearray(source.read_bytes())
    for change in changes:
        change(data)
    target.write_bytes(data)
    return target


def renamed(name: str, other: str) -> Change:
    """A tensor or a metadata key gets another name, as long as the old one."""
    assert len(name) == len(other)

    def change(data: bytearray) -> None:
        at = _after(data, name) - len(name)
        data[at : at + len(name)] = other.encode()

    return change


def value(key: str, number: int) -> Change:
    """A u32 of the metadata."""

    def change(data: bytearray) -> None:
        struct.pack_into("<I", data, _after(data, key) + 4, number)

    return change


def shaped(name: str, shape: Sequence[int]) -> Change:
    """A tensor's shape, rows first, of as many dimensions as it has."""

    def change(data: bytearray) -> None:
        at = _after(data, name)
        assert struct.unpack_from("<I", data, at) == (len(shape),)
        struct.pack_into(f"<{len(shape)}Q", data, at + 4, *reversed(shape))

    return change


def typed(name: str, ggml_type: GGMLType) -> Change:
    """A tensor's type."""

    def change(data: bytearray) -> None:
        at = _after(data, name)
        (num_dimensions,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at + 4 + 8 * num_dimensions, ggml_type)

    return change


def _after(data: bytearray, name: str) -> int:
    """Where the only string `name` ends."""
    raw = struct.pack("<Q", len(name)) + name.encode()
    assert data.count(raw) == 1, f"{name} stands {data.count(raw)} times in the file"
    return data.index(raw) + len(raw)
