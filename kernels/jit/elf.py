"""Object files as values: sections, symbols, relocations, and what a relocation writes. Maps nothing.

Formats: ELF-64 (System V ABI), its x86-64 supplement, and ELF for the Arm 64-bit Architecture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kernels.errors import KernelsError

HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_RELOCATION: Final = struct.Struct("<QQq")
_WORD: Final = struct.Struct("<I")
IDENT: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1

_SYMBOL_TABLE: Final = 2
_RELOCATIONS: Final = 4
_NO_CONTENT: Final = 8
_WRITABLE, _ALLOCATED, _EXECUTABLE = 1, 2, 4
UNDEFINED: Final = 0
COMMON: Final = 0xFFF2

_WORDS: Final = {1: (8, False), 2: (4, True), 4: (4, True), 24: (8, True), 257: (8, False), 260: (8, True)}
"""Numbers of so many bytes, and whether they are relative: x86's 64, PC32, PLT32 and PC64, Arm's ABS64 and PREL64."""
_CALLS: Final = frozenset({4, 282, 283})
_GOT_PAGE, _GOT_LOW = 311, 312
_PAGES: Final = frozenset({275, _GOT_PAGE})
_LOW_12_BITS: Final = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4, _GOT_LOW: 3}
"""ADD, and loads and stores of 1 to 16 bytes: the scale of what they add."""
_MOVES: Final = {264: 0, 266: 16, 268: 32, 269: 48}
"""MOVZ and MOVK: which bits of the address."""


class ObjectError(KernelsError):
    """Not an object file of ours, or a relocation that LLVM has not used so far."""


@dataclass(frozen=True, slots=True)
class Section:
    """`content` is shorter than `size` where memory begins as zeros."""

    name: str
    content: bytes
    size: int
    alignment: int
    is_allocated: bool
    is_executable: bool
    is_writable: bool


@dataclass(frozen=True, slots=True)
class Symbol:
    """`section`: UNDEFINED, COMMON (`value` is its alignment then) or an index of `ObjectFile.sections`."""

    name: str
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class Relocation:
    """In `section` at `offset`: the address of `symbol`, an index, and `addend`, as `kind` writes it."""

    section: int
    offset: int
    kind: int
    symbol: int
    addend: int

    @property
    def is_call(self) -> bool:
        """Whether code jumps there, if need be by way of a stub."""
        return self.kind in _CALLS

    @property
    def takes_slot(self) -> bool:
        """Whether code reads the symbol's address from a slot that it expects near it."""
        return self.kind in (_GOT_PAGE, _GOT_LOW)


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """What a compiler leaves to be loaded."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: tuple[Relocation, ...]

    @property
    def code_bytes(self) -> int:
        return sum(section.size for section in self.sections if section.is_executable)


def read_object(made: bytes) -> ObjectFile:
    """Raises ObjectError on what is damaged or cut off: the table of sections comes last."""
    if not made.startswith(IDENT):
        raise ObjectError("not an ELF-64 object file")
    try:
        return _read(made)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ObjectError(f"a damaged object file: {error}") from error


def _read(made: bytes) -> ObjectFile:
    fields = HEADER.unpack_from(made)
    offset, size, count, names_at = fields[6], fields[11], fields[12], fields[13]
    headers = [_SECTION.unpack_from(made, offset + index * size) for index in range(count)]
    names = _content(made, headers[names_at])
    sections, symbols, relocations = [], [], []
    for header in headers:
        name, kind, flags, _, _, num_bytes, link, applies_to, alignment, _ = header
        content = _content(made, header)
        sections.append(
            Section(
                _text(names, name),
                content,
                num_bytes,
                max(alignment, 1),
                bool(flags & _ALLOCATED),
                bool(flags & _EXECUTABLE),
                bool(flags & _WRITABLE),
            )
        )
        if kind == _SYMBOL_TABLE:
            symbols = list(_symbols(content, _content(made, headers[link])))
        elif kind == _RELOCATIONS:
            for at, info, addend in _RELOCATION.iter_unpack(content):
                relocations.append(Relocation(applies_to, at, info & 0xFFFFFFFF, info >> 32, addend))
    return ObjectFile(tuple(sections), tuple(symbols), tuple(relocations))


def _content(made: bytes, header: tuple[int, ...]) -> bytes:
    kind, start, num_bytes = header[1], header[4], header[5]
    if kind == _NO_CONTENT:
        return b""
    if start + num_bytes > len(made):
        raise ValueError(f"a section ends at byte {start + num_bytes} of {len(made)}")
    return made[start : start + num_bytes]


def _symbols(table: bytes, names: bytes) -> Iterator[Symbol]:
    for name, _, _, section, value, size in _SYMBOL.iter_unpack(table):
        yield Symbol(_text(names, name), section, value, size)


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode()


def relocate(code: bytearray, offset: int, kind: int, place: int, target: int) -> None:
    """Write `target` into the bytes at `offset`, which will lie at `place`. ObjectError if it is out of reach."""
    if kind in _WORDS:
        size, is_relative = _WORDS[kind]
        value = target - place if is_relative else target
        try:
            code[offset : offset + size] = value.to_bytes(size, "little", signed=is_relative)
        except OverflowError:
            raise ObjectError(f"a symbol is {value:#x} bytes away, too far for relocation {kind}") from None
        return
    (instruction,) = _WORD.unpack_from(code, offset)
    if kind in _CALLS:
        _check_reach(target - place, 27)
        instruction = instruction & 0xFC000000 | (target - place) >> 2 & 0x3FFFFFF
    elif kind in _PAGES:
        pages = (target >> 12) - (place >> 12)
        _check_reach(pages, 20)
        instruction = instruction & 0x9F00001F | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    elif kind in _LOW_12_BITS:
        instruction = instruction & 0xFFC003FF | (target & 0xFFF) >> _LOW_12_BITS[kind] << 10
    elif kind in _MOVES:
        instruction = instruction & 0xFFE0001F | (target >> _MOVES[kind] & 0xFFFF) << 5
    else:
        raise ObjectError(f"relocation {kind} is not known")
    _WORD.pack_into(code, offset, instruction)


def _check_reach(distance: int, bits: int) -> None:
    if not -(1 << bits) <= distance < 1 << bits:
        raise ObjectError(f"a symbol is {distance:#x} away, more than {bits} bits and a sign")
