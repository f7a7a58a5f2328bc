"""Builds GGUF files byte by byte, right and wrong ones: what the official writer would refuse to write."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, value_type: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", value_type) + payload


def tensor(name: str | bytes, shape: Sequence[int], ggml_type: int, offset: int) -> bytes:
    """A row of the tensor table; `shape` as in the file, row length first."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, ggml_type, offset)


@dataclass(frozen=True, slots=True)
class GGUFBytes:
    """The parts of a file; counts are claimed from the parts unless given."""

    pairs: tuple[bytes, ...] = ()
    tensors: tuple[bytes, ...] = ()
    data: bytes = b""
    magic: bytes = b"GGUF"
    version: int = 3
    num_tensors: int | None = None
    num_pairs: int | None = None
    alignment: int = 32

    def but(self, **changes: object) -> "GGUFBytes":
        return replace(self, **changes)  # type: ignore[arg-type]

    def build(self) -> bytes:
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        num_pairs = len(self.pairs) if self.num_pairs is None else self.num_pairs
        head = self.magic + struct.pack("<IQQ", self.version, num_tensors, num_pairs)
        head += b"".join(self.pairs) + b"".join(self.tensors)
        return head + bytes(-len(head) % self.alignment) + self.data

    def write(self, path: Path) -> Path:
        path.write_bytes(self.build())
        return path
