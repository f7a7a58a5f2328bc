"""Code of libraries is given back, and runs when it is needed again."""

import ctypes
import platform
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from kernels.jit.build import compile_here
from kernels.jit.elf import read_object
from kernels.jit.memory_image import load
from service.start_memory import code, give_back

SMAPS = Path("/proc/self/smaps")


def resident_kib(address: int) -> int:
    """Of the mapping that begins there."""
    lines = iter(SMAPS.read_text().splitlines())
    next(line for line in lines if line.startswith(f"{address:x}-"))
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="mappings are read from /proc")
def test_libraries_are_given_back_and_work_again() -> None:
    source = "define i64 @two() { ret i64 2 }"
    llvm.parse_assembly(source).verify()
    ((address, end),) = ((start, end) for start, end, file in code() if file.endswith("/libllvmlite.so"))
    before = resident_kib(address)
    assert give_back() >= end - address
    assert resident_kib(address) < before
    assert "ret i64 2" in str(llvm.parse_assembly(source))


def test_code_that_lies_in_no_file_stays() -> None:
    made = read_object(compile_here("define i64 @two() { ret i64 2 }", platform.machine()))
    address = load(made)["two"]
    give_back()
    assert not any(start <= address < end for start, end, _ in code())
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(address)() == 2
