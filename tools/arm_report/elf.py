"""Makes a static AArch64 program of one object file: code, constants, zeroed memory at a fixed address. No libraries.

Formats: ELF-64 (System V ABI) and ELF for the Arm 64-bit Architecture (relocations).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

TEXT, DATA = 0x400000, 0x10000000
PAGE = 0x1000
CALL26, JUMP26, ADRP = 283, 282, 275
LOW_12_BITS = {277: 0, 285: 2, 286: 3, 299: 4}  # ADD, and loads of 4, 8 and 16 bytes: their addresses' scale
ALIGNMENT = 64
BL = 0x94000000
HEADER, PROGRAM_HEADER = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
SECTION, SYMBOL, RELOCATION = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ"), struct.Struct("<QQq")


@dataclass(frozen=True, slots=True)
class Program:
    """An executable file's bytes; the function of interest lies from `start` to `end`."""

    image: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    content: bytes


def link(made: bytes, function: str, before: list[int], after: list[int], data_bytes: int) -> Program:
    """A program that runs the instructions `before`, calls `function` and runs those `after`.

    made: an object file of code in .text sections, relocated in the first, and constants in .rodata.
    """
    sections = _sections(made)
    by_name = {section.name: section.content for section in sections}
    symbols = list(_symbols(by_name[".symtab"], by_name[".strtab"]))
    code, places = bytearray(4 * (len(before) + 1 + len(after))), {}
    for index, section in enumerate(sections):
        if section.name.startswith((".text", ".rodata")):
            code += bytes(-len(code) % ALIGNMENT)
            places[index] = TEXT + PAGE + len(code)
            code += section.content
    text = next(places[index] for index in places if sections[index].name == ".text")
    for at, kind, symbol, addend in _relocations(by_name.get(".rela.text", b"")):
        # What is undefined (memcpy, for a tail's columns) must not be reached: page 0.
        target = places.get(symbols[symbol].section, 0) + symbols[symbol].value + addend
        _relocate(code, text + at, kind, target)
    called = next(symbol for symbol in symbols if symbol.name == function)
    start = text + called.value
    call = BL | (start - (TEXT + PAGE + 4 * len(before))) >> 2
    words = [*before, call, *after]
    struct.pack_into(f"<{len(words)}I", code, 0, *words)
    image = _headers(len(code), data_bytes).ljust(PAGE, b"\0") + bytes(code)
    return Program(image, start, start + called.size)


def _relocate(code: bytearray, at: int, kind: int, target: int) -> None:
    offset = at - TEXT - PAGE
    (instruction,) = struct.unpack_from("<I", code, offset)
    if kind in (CALL26, JUMP26):
        instruction = instruction & 0xFC000000 | (target - at) >> 2 & 0x3FFFFFF
    elif kind == ADRP:
        pages = (target >> 12) - (at >> 12)
        instruction |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    else:
        instruction |= (target & 0xFFF) >> LOW_12_BITS[kind] << 10
    struct.pack_into("<I", code, offset, instruction)


def _headers(text_bytes: int, data_bytes: int) -> bytes:
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = HEADER.pack(ident, 2, 183, 1, TEXT + PAGE, HEADER.size, 0, 0, HEADER.size, PROGRAM_HEADER.size, 2, 0, 0, 0)
    code = PROGRAM_HEADER.pack(1, 5, 0, TEXT, TEXT, PAGE + text_bytes, PAGE + text_bytes, PAGE)
    data = PROGRAM_HEADER.pack(1, 6, 0, DATA, DATA, 0, data_bytes, PAGE)
    return header + code + data


def _sections(made: bytes) -> list[_Section]:
    fields = HEADER.unpack_from(made)
    offset, size, count, names_at = fields[6], fields[11], fields[12], fields[13]
    headers = [SECTION.unpack_from(made, offset + i * size) for i in range(count)]
    names = made[headers[names_at][4] :]
    return [_Section(_text(names, h[0]), made[h[4] : h[4] + h[5]]) for h in headers]


def _symbols(table: bytes, names: bytes) -> Iterator[_Symbol]:
    for name, _, _, section, value, size in SYMBOL.iter_unpack(table):
        yield _Symbol(_text(names, name), section, value, size)


def _relocations(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Offset, type, symbol, addend."""
    for at, info, addend in RELOCATION.iter_unpack(table):
        yield at, info & 0xFFFFFFFF, info >> 32, addend


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode()
