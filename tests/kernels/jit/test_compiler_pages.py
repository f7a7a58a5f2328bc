"""LLVM's code is given back, and works when it is needed again."""

import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from kernels.jit.compiler_pages import compiler_code, forget_compiler

SMAPS = Path("/proc/self/smaps")


def tells_what_is_resident() -> bool:
    """QEMU's user emulation makes up the file, and says 0 of every mapping: of no real process can that be so."""
    return any(line.split()[1] != "0" for line in SMAPS.read_text().splitlines() if line.startswith("Rss:"))


def resident_kib(address: int) -> int:
    """Of the mapping that begins there."""
    lines = iter(SMAPS.read_text().splitlines())
    next(line for line in lines if line.startswith(f"{address:x}-"))
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="mappings are read from /proc")
def test_the_compiler_is_forgotten_and_works_again() -> None:
    source = "define i64 @two() { ret i64 2 }"
    llvm.parse_assembly(source).verify()
    ((address, num_bytes), *_) = compiler_code()
    before = resident_kib(address)
    assert forget_compiler() >= num_bytes
    assert resident_kib(address) < before or not tells_what_is_resident()
    assert "ret i64 2" in str(llvm.parse_assembly(source))
