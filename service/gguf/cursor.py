"""Bounded little-endian reads from a mapped file. Knows no GGUF: only bytes, an end and clear errors."""

import struct
from array import array
from mmap import mmap
from struct import Struct
from typing import NoReturn

from service.errors import ModelFileError

_U32 = Struct("<I").unpack_from
_U64 = Struct("<Q").unpack_from


class Cursor:
    """A position in a mapped file which never leaves it. `source` names the file in errors."""

    __slots__ = ("buffer", "position", "size", "source")

    def __init__(self, buffer: mmap, source: str) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.source = source
        self.position = 0

    def fail(self, problem: str) -> NoReturn:
        """Raises the one-line error of a bad file."""
        raise ModelFileError(f"{self.source}: {problem}")

    @property
    def remaining(self) -> int:
        return self.size - self.position

    def need(self, num_bytes: int, what: str) -> None:
        """Asserts that the file still holds `num_bytes`, before anything of that size is touched."""
        if num_bytes > self.size - self.position:
            self.fail(
                f"truncated or corrupted: {what} needs {num_bytes} bytes at offset {self.position}, "
                f"{self.remaining} are left of {self.size}"
            )

    def skip(self, num_bytes: int, what: str) -> int:
        """Steps over `num_bytes`; returns the offset where they begin."""
        self.need(num_bytes, what)
        start = self.position
        self.position = start + num_bytes
        return start

    def u32(self, what: str) -> int:
        value: int = _U32(self.buffer, self.skip(4, what))[0]
        return value

    def u64(self, what: str) -> int:
        value: int = _U64(self.buffer, self.skip(8, what))[0]
        return value

    def u64s(self, count: int, what: str) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}Q", self.buffer, self.skip(8 * count, what))

    def name(self, what: str, max_bytes: int) -> str:
        """A short string that has to be there: a key or a tensor's name."""
        length = self.u64(f"the length of {what}")
        if not 1 <= length <= max_bytes:
            self.fail(f"{what} has a length of {length} bytes; 1 to {max_bytes} are possible")
        start = self.skip(length, what)
        raw = self.buffer[start : start + length]
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8: byte {error.start} of {quoted(raw)}")

    def skip_strings(self, count: int, what: str) -> "array[int]":
        """Steps over `count` strings, each with its length before it; the offsets of the lengths, and of the end."""
        self.need(8 * count, what)
        offsets = array("q", bytes(8 * (count + 1)))
        position = self.position
        buffer, size = self.buffer, self.size
        try:
            for index in range(count):  # the hot loop of opening a file: 100,000 tokens and merges
                offsets[index] = position
                position += 8 + _U64(buffer, position)[0]
                if position > size:
                    break
        except struct.error:
            position = size + 1
        if position > size:
            self.fail(f"truncated or corrupted: {what} with {count} strings runs past the file's end at {size}")
        self.position = offsets[count] = position
        return offsets


def quoted(name: str | bytes) -> str:
    """A name from an untrusted file, safe and short enough for one line."""
    return repr(name[:60])
