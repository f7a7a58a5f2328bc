"""Objects in memory: code that calls out and reads constants runs; what cannot be bound is refused."""

import ctypes
import platform
from pathlib import Path

import pytest

from kernels.jit.build import compile_here
from kernels.jit.elf import IDENT, ObjectError, read_object, relocate
from kernels.jit.memory_image import load

ARCH = platform.machine()
CALLS_OUT = """
@table = internal constant [4 x i64] [i64 7, i64 11, i64 13, i64 17]
@count = internal global i64 40
declare ptr @memset(ptr, i32, i64)
declare double @cbrt(double)
define i64 @entry(ptr %into, i64 %index) {
  %done = call ptr @memset(ptr %into, i32 3, i64 8)
  %root = call double @cbrt(double 2.700000e+01)
  %whole = fptosi double %root to i64
  %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %index
  %entry = load volatile i64, ptr %at
  %old = load volatile i64, ptr @count
  %new = add i64 %old, 1
  store volatile i64 %new, ptr @count
  %sum = add i64 %entry, %new
  %all = add i64 %sum, %whole
  ret i64 %all
}
"""
NEEDS = "declare void @{name}()\ndefine void @entry() {{\n  call void @{name}()\n  ret void\n}}\n"


def mapped(address: int) -> str:
    """The rights of the page at this address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[1]
    raise AssertionError(f"{address:#x} is not mapped")


def test_code_calls_out_reads_constants_and_keeps_data() -> None:
    image = load(read_object(compile_here(CALLS_OUT, ARCH)))
    run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(image["entry"])
    into = ctypes.c_uint64(0)
    assert run(ctypes.addressof(into), 2) == 13 + 41 + 3
    assert run(ctypes.addressof(into), 0) == 7 + 42 + 3
    assert into.value == 0x0303030303030303


def test_two_images_of_an_object_share_nothing() -> None:
    made = read_object(compile_here(CALLS_OUT, ARCH))
    first, second = load(made), load(made)
    assert first["entry"] != second["entry"]
    kind, into = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64), ctypes.c_uint64(0)
    assert [kind(image["entry"])(ctypes.addressof(into), 0) for image in (first, first, second)] == [51, 52, 51]


@pytest.mark.skipif(ARCH != "x86_64", reason="user emulation has no pages of its own")
def test_no_page_is_writable_and_executable() -> None:
    image = load(read_object(compile_here(CALLS_OUT, ARCH)))
    assert [mapped(image[name]) for name in ("entry", "table", "count")] == ["r-xp", "r--p", "rw-p"]


def test_what_is_nowhere_is_refused_by_name() -> None:
    with pytest.raises(ObjectError, match="needs no_such_function"):
        load(read_object(compile_here(NEEDS.format(name="no_such_function"), ARCH)))


def test_what_is_named_and_never_called_needs_not_be_there() -> None:
    assert load(read_object(compile_here(NEEDS.format(name="numba_gil_ensure"), ARCH)))["entry"]


def test_every_part_of_an_object_that_is_cut_off_is_missed() -> None:
    whole = compile_here(CALLS_OUT, ARCH)
    assert read_object(whole).code_bytes > 0
    for size in range(len(whole)):
        with pytest.raises(ObjectError):
            read_object(whole[:size])


@pytest.mark.parametrize(
    ("kind", "place", "target", "written"),
    [
        (1, 0x1000, 0x1122334455667788, "8877665544332211"),  # x86-64: 64
        (2, 0x1000, 0x0FFE, "feffffff00000000"),  # PC32
        (24, 0x1000, 0x0FFE, "feffffffffffffff"),  # PC64
        (283, 0x1000, 0x0FFC, "ffffff0300000000"),  # AArch64: CALL26, one instruction back
        (275, 0x1FFC, 0x5123, "2000000000000000"),  # ADR_PREL_PG_HI21: four pages on
        (275, 0x1FFC, 0x2123, "0000002000000000"),  # one page on: the lowest bits of the number are bits 29 and 30
        (299, 0, 0x1230, "008c000000000000"),  # LDST128_ABS_LO12_NC: 0x230 / 16
        (268, 0, 0x1234_5678_9ABC_DEF0, "00cf0a0000000000"),  # MOVW_UABS_G2_NC: 0x5678
    ],
)
def test_relocations(kind: int, place: int, target: int, written: str) -> None:
    code = bytearray(8)
    relocate(code, 0, kind, place, target)
    assert code.hex() == written


@pytest.mark.parametrize(("kind", "target"), [(2, 1 << 40), (283, 1 << 30), (275, 1 << 40), (999, 0)])
def test_what_is_out_of_reach_or_unknown_is_refused(kind: int, target: int) -> None:
    with pytest.raises(ObjectError):
        relocate(bytearray(8), 0, kind, 0, target)


def test_what_is_no_object_is_refused() -> None:
    for content in (b"", b"garbage", IDENT):
        with pytest.raises(ObjectError):
            read_object(content)
