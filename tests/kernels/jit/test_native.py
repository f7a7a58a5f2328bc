"""Memory by address, half floats, bit counts: against NumPy and Python."""

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.jit.function import c_callable
from kernels.jit.native import (
    count_leading_zeros,
    count_trailing_zeros,
    float_bits,
    load,
    load_half,
    record,
    store,
    store_half,
    view,
)

POINT = np.dtype(
    {"names": ["a", "b", "c"], "formats": ["i4", "f4", ("i8", (2,))], "offsets": [0, 8, 16], "itemsize": 40}
)


@c_callable("float64(int64, int64)")
def copy_numbers(source: int, target: int) -> float:
    """One of each kind, at odd addresses."""
    store(target + 1, load(source + 1, np.int64), np.int64)
    store(target + 9, load(source + 9, np.float32), np.float32)
    store(target + 13, load(source + 13, np.uint8), np.uint8)
    return load(source + 9, np.float32) + load(source + 13, np.uint8)


@c_callable("int64(int64)")
def change_record(address: int) -> int:
    point = record(address, POINT)
    point.a = point.a + 1
    point.b = point.b * np.float32(2)
    point.c[1] = point.c[0] + point.a
    return point.c[1]


@c_callable("int64(int64, int64, int64)")
def number_cells(address: int, rows: int, columns: int) -> int:
    cells = view(address, (rows, columns), np.int32)
    for row in range(rows):
        for column in range(columns):
            cells[row, column] = 100 * row + column
    flat = view(address, rows * columns, np.int32)
    return flat[rows * columns - 1]


@c_callable("int64(int64, int64, int64)")
def widen_halves(source: int, target: int, count: int) -> int:
    for index in range(count):
        store(target + 4 * index, load_half(source + 2 * index), np.float32)
    return 0


@c_callable("int64(int64, int64, int64)")
def round_halves(source: int, target: int, count: int) -> int:
    for index in range(count):
        store_half(target + 2 * index, load(source + 4 * index, np.float32))
    return 0


@c_callable("int64(int64)")
def leading(value: int) -> int:
    return count_leading_zeros(value)


@c_callable("int64(int64)")
def trailing(value: int) -> int:
    return count_trailing_zeros(value)


@c_callable("int32(float32)")
def bits_of(value: float) -> int:
    return float_bits(value)


def test_numbers_at_odd_addresses() -> None:
    source = np.arange(32, dtype=np.uint8)
    source[9:13] = np.frombuffer(np.float32(1.5).tobytes(), np.uint8)
    target = np.zeros(32, np.uint8)
    assert copy_numbers.ctypes(source.ctypes.data, target.ctypes.data) == 1.5 + 13
    assert (target[1:14] == source[1:14]).all()
    assert not target[14:].any()


def test_a_record_is_changed_in_place() -> None:
    point = np.zeros(1, POINT)
    point["a"], point["b"], point["c"] = 4, 1.25, (10, 0)
    assert change_record.ctypes(point.ctypes.data) == 15
    assert (point["a"][0], point["b"][0], point["c"][0].tolist()) == (5, 2.5, [10, 15])


def test_views_are_in_c_order() -> None:
    cells = np.zeros((3, 7), np.int32)
    assert number_cells.ctypes(cells.ctypes.data, 3, 7) == 206
    assert (cells == 100 * np.arange(3)[:, None] + np.arange(7)).all()


def test_every_half_is_widened_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    floats = np.zeros(len(halves), np.float32)
    widen_halves.ctypes(halves.ctypes.data, floats.ctypes.data, len(halves))
    with np.errstate(invalid="ignore"):  # signalling NaN
        np.testing.assert_array_equal(floats, halves.astype(np.float32))


def test_halves_round_to_nearest_even() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(20_000) * 10.0 ** rng.integers(-9, 6, 20_000)).astype(np.float32)
    halves = np.zeros(len(values), np.float16)
    round_halves.ctypes(values.ctypes.data, halves.ctypes.data, len(values))
    with np.errstate(over="ignore"):
        assert (halves.view(np.uint16) == values.astype(np.float16).view(np.uint16)).all()


def test_halves_are_converted_by_instructions() -> None:
    cpu = detect_cpu()
    if cpu.arch == "x86_64" and not cpu.has("f16c"):
        pytest.skip("no F16C")
    assembly = widen_halves.assembly() + round_halves.assembly()
    instructions = ("vcvtph2ps", "vcvtps2ph") if cpu.arch == "x86_64" else ("fcvt",)
    assert all(instruction in assembly for instruction in instructions)
    assert "__extendhfsf2" not in assembly
    assert "__truncsfhf2" not in assembly


@pytest.mark.parametrize("value", [0, 1, 2, 3, 64, 2**40 - 1, 2**62, -1])
def test_bit_counts(value: int) -> None:
    word = value % 2**64
    assert leading.ctypes(value) == 64 - word.bit_length()
    assert trailing.ctypes(value) == ((word & -word).bit_length() - 1 if word else 64)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, float("inf")])
def test_float_bits(value: float) -> None:
    assert bits_of.ctypes(value) == int(np.float32(value).view(np.int32))
