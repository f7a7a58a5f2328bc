"""The head of a file of packed weights: what it holds and what its bytes must be. Knows no folder and no matrix.

    | magic 8 B | version u32 | size of the text u32 | its BLAKE2b, 32 B | text: JSON | zeros up to PAYLOAD_OFFSET |
    | payload: segments of SEGMENT_BYTES, the last one shorter, each with a digest in the text                     |

The payload begins on a huge page of the file, so that file systems with large folios map it as such.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

MAGIC = b"GEMMPACK"
FORMAT_VERSION = 1
SEGMENT_BYTES = 2 << 20
PAYLOAD_OFFSET = 2 << 20
PAYLOAD_ALIGNMENT = 4096
_FIXED = struct.Struct("<8sII32s")


class DamagedFile(Exception):
    """A file of packed weights that must not be used; the text says why."""


@dataclass(frozen=True, slots=True)
class PackedHeader:
    """key: of all that the payload follows from. model, cpu, layouts: for people. digests: hexadecimal, by segment."""

    key: str
    model: str
    cpu: str
    layouts: tuple[str, ...]
    payload_bytes: int
    digests: tuple[str, ...]

    @property
    def file_bytes(self) -> int:
        return PAYLOAD_OFFSET + self.payload_bytes


def num_segments(payload_bytes: int) -> int:
    return -(-payload_bytes // SEGMENT_BYTES)


def encode(header: PackedHeader) -> bytes:
    assert len(header.digests) == num_segments(header.payload_bytes), "one digest a segment"
    text = json.dumps(asdict(header)).encode()
    head = _FIXED.pack(MAGIC, FORMAT_VERSION, len(text), hashlib.blake2b(text, digest_size=32).digest())
    assert len(head) + len(text) <= PAYLOAD_OFFSET, "more segments than a header has room for"
    return head + text


def decode(raw: bytes, file_bytes: int) -> PackedHeader:
    """raw: the file's first PAYLOAD_OFFSET bytes, or all of a shorter file. Raises DamagedFile."""
    if len(raw) < _FIXED.size:
        raise DamagedFile(f"{file_bytes} bytes are too few for a header")
    magic, version, size, digest = _FIXED.unpack_from(raw)
    if magic != MAGIC:
        raise DamagedFile(f"it begins with {magic!r}, not with {MAGIC!r}")
    if version != FORMAT_VERSION:
        raise DamagedFile(f"format version {version}; this is version {FORMAT_VERSION}")
    text = raw[_FIXED.size : _FIXED.size + size]
    if len(text) != size or hashlib.blake2b(text, digest_size=32).digest() != digest:
        raise DamagedFile("the header is not what was written")
    if any(raw[_FIXED.size + size :]):
        raise DamagedFile("something stands between header and weights")
    header = _header(json.loads(text))
    if header.file_bytes != file_bytes:
        raise DamagedFile(f"the file has {file_bytes} bytes; {header.file_bytes} were written")
    return header


def _header(fields: dict[str, Any]) -> PackedHeader:
    """What `encode` wrote: the digest has said so."""
    return PackedHeader(
        **{**fields, "layouts": tuple(fields["layouts"]), "digests": tuple(fields["digests"])},
    )
