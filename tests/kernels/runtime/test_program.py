"""The program builder: records, addresses, alignment, and what it refuses."""

import numpy as np
import pytest

from kernels.runtime.abi import (
    CACHE_LINE,
    OP_BYTES,
    OP_HEADER,
    SAMPLED,
    SAMPLING,
    STEP,
    THREAD,
    THREAD_BYTES,
    op_record,
)
from kernels.runtime.program import KernelSlot, ProgramBuilder

RECORD = op_record([("x", "i8"), ("eps", "f4"), ("n", "i8"), ("count", "i4")])
SLOT = (KernelSlot("op", "kernel"),)


def test_sizes_are_the_contract() -> None:
    assert OP_HEADER.itemsize == 32
    assert RECORD.itemsize == OP_BYTES == 256
    assert THREAD.itemsize == THREAD_BYTES == 128
    assert STEP.itemsize == 15 * 8
    assert SAMPLING.itemsize == 192
    assert SAMPLED.itemsize == 192


def test_arguments_follow_the_header_aligned() -> None:
    assert RECORD.fields is not None
    assert {name: RECORD.fields[name][1] for name in ("x", "eps", "n", "count")} == {
        "x": 32,
        "eps": 40,
        "n": 48,
        "count": 56,
    }


def test_too_many_arguments() -> None:
    op_record([(f"a{index}", "i8") for index in range(28)])
    with pytest.raises(AssertionError, match="232 bytes"):
        op_record([(f"a{index}", "i8") for index in range(29)])


def test_records_hold_addresses_of_the_arena() -> None:
    builder = ProgramBuilder()
    first = builder.buffer("first", np.float32, (3, 5))
    second = builder.buffer("second", np.int16, (7,))
    builder.op("one", record=RECORD, run=4321, slots=SLOT, args={"x": second, "eps": 0.5, "n": 9, "count": -1})
    builder.op("two", record=RECORD, run=1234, slots=SLOT, args={"x": 77, "eps": 0, "n": 0, "count": 0})
    program = builder.build()
    one, two = program.records.reshape(-1).view(RECORD)
    assert (one["run"], one["op_index"], one["x"], one["eps"], one["n"], one["count"]) == (
        4321, 0, program.address(second), 0.5, 9, -1,
    )  # fmt: skip
    assert (two["run"], two["op_index"], two["x"]) == (1234, 1, 77)
    assert program.op_names == ("one", "two")
    assert program.records.ctypes.data % CACHE_LINE == 0
    for buffer in (first, second):
        assert program.address(buffer) % CACHE_LINE == 0
        view = program.view(buffer)
        assert view.ctypes.data == program.address(buffer)
        assert view.shape == buffer.shape
        assert view.dtype == buffer.dtype
        assert not view.any()
    program.view(first)[:] = 1
    assert not program.view(second).any()


@pytest.mark.parametrize(("columns", "gap"), [(1024, 64), (512, 64), (576, 0), (3072, 64)])
def test_rows_that_are_spread(columns: int, gap: int) -> None:
    builder = ProgramBuilder()
    rows = builder.buffer("rows", np.float32, (5, columns), is_spread=True)
    behind = builder.buffer("behind", np.float32, (4,))
    program = builder.build()
    assert (rows.payload_bytes, rows.row_bytes) == (4 * columns, 4 * columns + gap)
    view = program.view(rows)
    assert (view.shape, view.strides) == ((5, columns), (rows.row_bytes, 4))
    view[:] = 1
    assert program.arena.view(np.float32).sum() == view.size
    assert not program.view(behind).any()


def test_slots_of_every_variant() -> None:
    builder = ProgramBuilder()
    gemm, gemv = KernelSlot("q", "gemm"), KernelSlot("q", "gemv")
    args = {"x": 0, "eps": 0, "n": 0, "count": 0}
    builder.op("q", record=RECORD, run=1, slots=(gemm, gemv), args=args)
    builder.op("q", record=RECORD, run=1, slots=(gemv,), args=args)
    program = builder.build()
    assert program.slots == (gemm, gemv)
    assert program.records.reshape(-1).view(RECORD)["slots"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("args", [{"x": 1}, {"x": 0, "eps": 0, "n": 0, "count": 0, "more": 1}])
def test_missing_and_unknown_arguments(args: dict[str, int]) -> None:
    with pytest.raises(AssertionError, match="missing or unknown"):
        ProgramBuilder().op("op", record=RECORD, run=1, slots=SLOT, args=args)


def test_a_buffer_has_one_owner() -> None:
    builder = ProgramBuilder()
    builder.buffer("x", np.float32, (1,))
    with pytest.raises(AssertionError, match="exists"):
        builder.buffer("x", np.float32, (1,))


def test_what_is_kept_lives_as_long_as_the_program() -> None:
    builder = ProgramBuilder()
    weights = np.zeros(3)
    builder.keep(weights)
    assert builder.build().kept[0] is weights
