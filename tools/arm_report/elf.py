"""Makes a static AArch64 program of one object file: code, constants, zeroed memory at a fixed address. No libraries.

Formats: ELF-64 (System V ABI) and ELF for the Arm 64-bit Architecture (relocations).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kernels.jit.elf import HEADER, IDENT, ObjectFile, relocate

TEXT, DATA = 0x400000, 0x10000000
PAGE = 0x1000
ALIGNMENT = 64
BL = 0x94000000
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True, slots=True)
class Program:
    """An executable file's bytes; the function of interest lies from `start` to `end`."""

    image: bytes
    start: int
    end: int


def link(made: ObjectFile, function: str, before: list[int], after: list[int], data_bytes: int) -> Program:
    """A program that runs the instructions `before`, calls `function` and runs those `after`.

    made: code in .text sections and constants in .rodata.
    """
    code, offsets = bytearray(4 * (len(before) + 1 + len(after))), {}
    for index, section in enumerate(made.sections):
        if section.name.startswith((".text", ".rodata")):
            code += bytes(-len(code) % ALIGNMENT)
            offsets[index] = len(code)
            code += section.content
    begin = TEXT + PAGE
    for relocation in made.relocations:
        symbol = made.symbols[relocation.symbol]
        at = offsets[relocation.section] + relocation.offset
        # What is undefined (memcpy, for a tail's columns) must not be reached: it leads to this very place.
        target = begin + offsets.get(symbol.section, at) + symbol.value
        relocate(code, at, relocation.kind, begin + at, target + relocation.addend)
    called = next(symbol for symbol in made.symbols if symbol.name == function)
    start = begin + offsets[called.section] + called.value
    call = BL | (start - (begin + 4 * len(before))) >> 2
    words = [*before, call, *after]
    struct.pack_into(f"<{len(words)}I", code, 0, *words)
    image = _headers(len(code), data_bytes).ljust(PAGE, b"\0") + bytes(code)
    return Program(image, start, start + called.size)


def _headers(text_bytes: int, data_bytes: int) -> bytes:
    ident = IDENT.ljust(16, b"\0")
    header = HEADER.pack(ident, 2, 183, 1, TEXT + PAGE, HEADER.size, 0, 0, HEADER.size, PROGRAM_HEADER.size, 2, 0, 0, 0)
    code = PROGRAM_HEADER.pack(1, 5, 0, TEXT, TEXT, PAGE + text_bytes, PAGE + text_bytes, PAGE)
    data = PROGRAM_HEADER.pack(1, 6, 0, DATA, DATA, 0, data_bytes, PAGE)
    return header + code + data
