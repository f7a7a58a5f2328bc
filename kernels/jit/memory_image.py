"""An object file in this process's memory: laid out, relocated, made executable. Knows the format, no compiler.

Code, constants and data lie on pages of their own in one mapping, so that no page is ever writable and executable at
once. What is called outside (memcpy, log) is called by way of a stub, which reaches all of memory. An image stays
mapped for the life of the process.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable
from typing import Final

from kernels.jit.elf import COMMON, UNDEFINED, ObjectError, ObjectFile, Section, Symbol, relocate

_NEVER_USED: Final = ("numba_", "Py", "NRT_", "__arm_tpidr2_save")
"""What is named and not used: native functions raise no errors, and of what runs here only our own kernels use ZA,
which they leave off, so that none finds a caller's to save."""

# Jumps to the address in the 8 bytes that follow.
_JUMPS: Final = {
    "x86_64": bytes.fromhex("ff25 0200 0000 cccc"),  # jmp [rip + 2]; int3, int3
    "aarch64": bytes.fromhex("5000 0058 0002 1fd6"),  # ldr x16, [pc + 8]; br x16
}
_TRAPS: Final = {"x86_64": bytes.fromhex("0f0b"), "aarch64": bytes.fromhex("2000 20d4")}  # ud2; brk 1
_ADDRESS_BYTES: Final = 8
_images: Final[list[mmap.mmap]] = []


def load(made: ObjectFile) -> dict[str, int]:
    """The addresses of the symbols that the object defines. Raises ObjectError where it needs what is nowhere."""
    image = _Image(made)
    image.link()
    image.seal()
    return image.defined


class _Image:
    def __init__(self, made: ObjectFile) -> None:
        self._made = made
        self._content = bytearray()
        self._trap = self._append(_TRAPS[platform.machine()], _ADDRESS_BYTES)
        undefined = [symbol for symbol in made.symbols if symbol.section == UNDEFINED and symbol.name]
        jump = _JUMPS[platform.machine()] + bytes(_ADDRESS_BYTES)
        self._stubs = {symbol.name: self._append(jump, _ADDRESS_BYTES) for symbol in undefined}
        self._places: dict[int, int] = {}  # of sections
        self._append_sections(lambda section: section.is_executable)
        self._code_end = self._end_pages()
        slotted = {relocation.symbol: None for relocation in made.relocations if relocation.takes_slot}
        self._slots = {symbol: self._append(bytes(_ADDRESS_BYTES), _ADDRESS_BYTES) for symbol in slotted}
        self._append_sections(lambda section: not section.is_executable and not section.is_writable)
        self._constants_end = self._end_pages()
        self._append_sections(lambda section: section.is_writable)
        commons = [symbol for symbol in made.symbols if symbol.section == COMMON]
        self._commons = {symbol.name: self._append(bytes(symbol.size), symbol.value) for symbol in commons}
        self._end_pages()
        self._memory = mmap.mmap(-1, len(self._content), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._outside = {name: self._address_outside(name) for name in self._stubs}

    def _append(self, content: bytes, alignment: int) -> int:
        self._content += bytes(-len(self._content) % alignment) + content
        return len(self._content) - len(content)

    def _append_sections(self, wanted: Callable[[Section], bool]) -> None:
        for index, section in enumerate(self._made.sections):
            # Nothing unwinds a native function's stack.
            if section.is_allocated and section.name != ".eh_frame" and wanted(section):
                self._places[index] = self._append(section.content.ljust(section.size, b"\0"), section.alignment)

    def _end_pages(self) -> int:
        self._append(b"", mmap.PAGESIZE)
        return len(self._content)

    def _address_outside(self, name: str) -> int:
        if name.startswith(_NEVER_USED):
            return self._base + self._trap
        for library in (None, "libm.so.6"):
            try:
                return ctypes.cast(getattr(ctypes.CDLL(library), name), ctypes.c_void_p).value or 0
            except AttributeError:
                continue
        raise ObjectError(f"native code needs {name}, which is in neither this process nor libm")

    def _address(self, symbol: Symbol) -> int:
        if symbol.section == UNDEFINED:
            return self._outside.get(symbol.name, 0)
        if symbol.section == COMMON:
            return self._base + self._commons[symbol.name]
        return self._base + self._places.get(symbol.section, 0) + symbol.value

    @property
    def defined(self) -> dict[str, int]:
        inside = (symbol for symbol in self._made.symbols if symbol.name and symbol.section in self._places)
        return {symbol.name: self._address(symbol) for symbol in inside}

    def link(self) -> None:
        symbols = self._made.symbols
        for name, stub in self._stubs.items():
            self._write_address(stub + _ADDRESS_BYTES, self._outside[name])
        for index, slot in self._slots.items():
            self._write_address(slot, self._address(symbols[index]))
        for relocation in self._made.relocations:
            if relocation.section not in self._places:
                continue
            symbol = symbols[relocation.symbol]
            if relocation.takes_slot:
                target = self._base + self._slots[relocation.symbol]
            elif relocation.is_call and symbol.section == UNDEFINED:
                target = self._base + self._stubs[symbol.name]
            else:
                target = self._address(symbol)
            at = self._places[relocation.section] + relocation.offset
            relocate(self._content, at, relocation.kind, self._base + at, target + relocation.addend)

    def _write_address(self, offset: int, address: int) -> None:
        self._content[offset : offset + _ADDRESS_BYTES] = address.to_bytes(_ADDRESS_BYTES, "little")

    def seal(self) -> None:
        """Copied to where it runs; from then on code is executable and constants stay what they are."""
        self._memory[:] = bytes(self._content)
        _images.append(self._memory)
        _protect(self._base, self._code_end, mmap.PROT_READ | mmap.PROT_EXEC)
        _protect(self._base + self._code_end, self._constants_end - self._code_end, mmap.PROT_READ)
        if platform.machine() == "aarch64":
            _clear_instruction_cache(self._base, self._base + self._code_end)


def _clear_instruction_cache(begin: int, end: int) -> None:
    """Arm's cores look for code in caches that do not see what was written."""
    ctypes.CDLL("libgcc_s.so.1").__clear_cache(ctypes.c_void_p(begin), ctypes.c_void_p(end))


def _protect(address: int, num_bytes: int, protection: int) -> None:
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if num_bytes and mprotect(address, num_bytes, protection) != 0:
        error = ctypes.get_errno()
        raise ObjectError(f"the system does not let memory be executed: error {error}")
