"""The executor: every thread walks every op in order, barriers hold, work is shared exactly once, nothing leaks."""

import gc
import threading
import time

import numpy as np
import pytest

from kernels.jit.function import op_function
from kernels.jit.native import atomic_add_i32, load, read_ticks, record, store
from kernels.runtime.abi import CACHE_LINE, PHASES, STEP, THREAD, op_record
from kernels.runtime.chunks import take_chunk
from kernels.runtime.executor import Executor
from kernels.runtime.histogram import HISTOGRAM_EDGES_S
from kernels.runtime.program import KernelSlot, Program, ProgramBuilder

COUNT = op_record([("counts", "i8"), ("num_items", "i8"), ("size", "i8")])
CHAIN = op_record([("cells", "i8"), ("num_cells", "i8"), ("failures", "i8"), ("expected", "i8")])
SCRATCH = op_record([("failures", "i8")])
BUSY = op_record([("ticks", "i8")])


@op_function
def count_items(op_address: int, thread_address: int) -> int:
    """Adds 1 to each item, in chunks."""
    op, thread = record(op_address, COUNT), record(thread_address, THREAD)
    while True:
        first = take_chunk(op, thread, op.size, op.num_items)
        if first >= op.num_items:
            break
        for item in range(first, min(first + op.size, op.num_items)):
            store(op.counts + 8 * item, load(op.counts + 8 * item, np.int64) + 1, np.int64)
    thread.units = op.num_items
    return record(thread.step, STEP).num_tokens & 1


@op_function
def check_and_advance(op_address: int, thread_address: int) -> int:
    """Finds its cells at `expected`, the next ones there or advanced by another thread; advances its own."""
    op, thread = record(op_address, CHAIN), record(thread_address, THREAD)
    while True:
        index = take_chunk(op, thread, 1, op.num_cells)
        if index >= op.num_cells:
            return 0
        own = op.cells + CACHE_LINE * index
        neighbour = op.cells + CACHE_LINE * ((index + 1) % op.num_cells)
        if load(own, np.int64) != op.expected or load(neighbour, np.int64) < op.expected:
            atomic_add_i32(op.failures, np.int32(1))
        store(own, op.expected + 1, np.int64)


@op_function
def use_scratch(op_address: int, thread_address: int) -> int:
    """Fills the thread's scratch with its index and finds it unchanged."""
    op, thread = record(op_address, SCRATCH), record(thread_address, THREAD)
    for offset in range(0, thread.scratch_bytes, 8):
        store(thread.scratch + offset, thread.index, np.int64)
    for offset in range(0, thread.scratch_bytes, 8):
        if load(thread.scratch + offset, np.int64) != thread.index:
            atomic_add_i32(op.failures, np.int32(1))
    return 0


@op_function
def busy(op_address: int, thread_address: int) -> int:
    op, thread = record(op_address, BUSY), record(thread_address, THREAD)
    start = read_ticks()
    while read_ticks() - start < op.ticks:
        pass
    thread.units = 1
    return 0


@op_function
def idle(op_address: int, thread_address: int) -> int:
    """Has nothing to do: reports no units."""
    return 0


def a_step(num_tokens: int = 2, phase: str = "prefill") -> np.ndarray:
    step = np.zeros(1, STEP)
    step["num_tokens"], step["phase"] = num_tokens, PHASES.index(phase)
    return step


SLOTS = (KernelSlot("count", "even", 10, 2, 5, 3), KernelSlot("count", "odd"))


def counting_program(num_ops: int, num_items: int, size: int) -> tuple[Program, np.ndarray]:
    builder = ProgramBuilder()
    counts = builder.buffer("counts", np.int64, (num_items,))
    for _ in range(num_ops):
        args = {"counts": counts, "num_items": num_items, "size": size}
        builder.op("count", record=COUNT, run=count_items.address, slots=SLOTS, args=args)
    program = builder.build()
    return program, program.view(counts)


def run(executor: Executor, step: np.ndarray) -> None:
    executor.run(step.ctypes.data)


@pytest.mark.parametrize("num_threads", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_cover_everything_exactly_once(num_threads: int, size: int) -> None:
    program, counts = counting_program(num_ops=3, num_items=500, size=size)
    with Executor(program, num_threads) as executor:
        for step in range(1, 6):
            run(executor, a_step())
            assert (counts == 3 * step).all()


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_a_step_in_parts_is_the_same_step(num_threads: int) -> None:
    program, counts = counting_program(num_ops=5, num_items=500, size=7)
    with Executor(program, num_threads) as executor:
        for step in range(1, 6):
            record = a_step()
            executor.run(record.ctypes.data, 0, 2)
            assert (counts == 5 * step - 3).all()
            executor.run(record.ctypes.data, 2, 3)
            executor.run(record.ctypes.data, 3)
            assert (counts == 5 * step).all()
        assert sum(kernel.calls for kernel in executor.kernel_stats()) == 5 * 5
        with pytest.raises(AssertionError):
            executor.run(a_step().ctypes.data, 2, 2)


@pytest.mark.parametrize("num_threads", [2, 3, 16])
def test_an_op_starts_when_the_one_before_is_done(num_threads: int) -> None:
    num_cells = 3 * num_threads
    builder = ProgramBuilder()
    cells = builder.buffer("cells", np.int64, (num_cells, CACHE_LINE // 8))
    failures = builder.buffer("failures", np.int32, (1,))
    slots = (KernelSlot("chain", "chain"),)
    for expected in range(20):
        args = {"cells": cells, "num_cells": num_cells, "failures": failures, "expected": expected}
        builder.op("chain", record=CHAIN, run=check_and_advance.address, slots=slots, args=args)
    program = builder.build()
    with Executor(program, num_threads) as executor:
        for _ in range(100):
            program.view(cells)[:] = 0
            run(executor, a_step())
            assert (program.view(cells)[:, 0] == 20).all()
    assert program.view(failures)[0] == 0


def test_scratch_is_private_and_as_large_as_the_greatest_wish() -> None:
    builder = ProgramBuilder()
    failures = builder.buffer("failures", np.int32, (1,))
    builder.scratch(64)
    builder.scratch(10_000)
    builder.scratch(128)
    args = {"failures": failures}
    builder.op("scratch", record=SCRATCH, run=use_scratch.address, slots=(KernelSlot("s", "s"),), args=args)
    program = builder.build()
    assert program.scratch_bytes == 10_000
    with Executor(program, 4) as executor:
        for _ in range(20):
            run(executor, a_step())
    assert program.view(failures)[0] == 0


def test_workers_wake_after_sleep() -> None:
    program, counts = counting_program(num_ops=1, num_items=100, size=1)
    with Executor(program, 3) as executor:
        for step in range(1, 6):
            time.sleep(0.005)
            run(executor, a_step())
            assert (counts == step).all()


def native_threads() -> int:
    return sum(thread.name.startswith("gemmule-") for thread in threading.enumerate())


def test_close_joins_the_workers() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    executor = Executor(program, 8)
    assert native_threads() == 7
    run(executor, a_step())
    executor.close()
    assert native_threads() == 0
    executor.close()
    with pytest.raises(AssertionError, match="closed"):
        run(executor, a_step())


def test_an_executor_that_never_ran_closes() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    Executor(program, 4).close()
    assert native_threads() == 0


def test_a_forgotten_executor_ends_its_threads() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    executor = Executor(program, 4)
    run(executor, a_step())
    del executor
    gc.collect()
    assert native_threads() == 0


def test_the_step_releases_the_gil() -> None:
    builder = ProgramBuilder()
    args = {"ticks": 200_000_000}
    builder.op("busy", record=BUSY, run=busy.address, slots=(KernelSlot("busy", "busy"),), args=args)
    with Executor(builder.build(), 1) as executor:
        runner = threading.Thread(target=run, args=(executor, a_step()))
        runner.start()
        turns = 0
        while runner.is_alive():
            turns += 1
            time.sleep(0.001)
        runner.join()
    assert turns > 3


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_stats_add_up(num_threads: int) -> None:
    program, _ = counting_program(num_ops=4, num_items=50, size=3)
    with Executor(program, num_threads) as executor:
        assert executor.kernel_stats() == ()
        for _ in range(3):
            run(executor, a_step(num_tokens=2, phase="prefill"))
        for _ in range(2):
            run(executor, a_step(num_tokens=1, phase="decode"))
        run(executor, a_step(num_tokens=4, phase="decode"))
        stats = {(row.kernel, row.phase): row for row in executor.kernel_stats()}
    assert {key: row.calls for key, row in stats.items()} == {
        ("even", "prefill"): 12,
        ("odd", "decode"): 8,
        ("even", "decode"): 4,
    }
    row = stats["even", "prefill"]
    assert row.op == "count"
    assert row.units == 12 * 50
    assert row.bytes == 12 * 10 + 12 * 50 * 2
    assert row.operations == 12 * 5 + 12 * 50 * 3
    assert 12 <= sum(row.histogram) <= 12 * num_threads  # of the threads that came in time
    assert row.seconds > 0


def test_a_call_without_units_moves_nothing() -> None:
    """As the logits of a prefill that samples nothing yet: calls and time are counted, bytes and operations are not."""
    builder = ProgramBuilder()
    builder.op(
        "busy", record=BUSY, run=busy.address, slots=(KernelSlot("busy", "busy", 100, 10, 7, 1),), args={"ticks": 1}
    )
    slot = KernelSlot("idle", "idle", 100, 10, 7, 1)
    builder.op("idle", record=BUSY, run=idle.address, slots=(slot,), args={"ticks": 1})
    with Executor(builder.build(), 2) as executor:
        for _ in range(3):
            run(executor, a_step())
        rows = {row.kernel: row for row in executor.kernel_stats()}
    assert (rows["busy"].calls, rows["busy"].bytes, rows["busy"].operations) == (3, 330, 24)
    assert (rows["idle"].calls, rows["idle"].bytes, rows["idle"].operations) == (3, 0, 0)
    assert 3 <= sum(rows["idle"].histogram) <= 6


def test_times_are_seconds_and_fall_into_their_bucket() -> None:
    program_builder = ProgramBuilder()
    slot = (KernelSlot("busy", "busy"),)
    program_builder.op("busy", record=BUSY, run=busy.address, slots=slot, args={"ticks": 20_000_000})
    with Executor(program_builder.build(), 1) as executor:
        start_s = time.perf_counter()
        for _ in range(5):
            run(executor, a_step())
        elapsed_s = time.perf_counter() - start_s
        (row,) = executor.kernel_stats()
    assert 0.5 * elapsed_s < row.seconds <= 1.05 * elapsed_s
    assert row.wall_seconds == pytest.approx(row.seconds, rel=0.5)
    buckets = np.nonzero(row.histogram)[0]
    least_s = row.seconds / 5 / 4
    assert all(HISTOGRAM_EDGES_S[bucket] > least_s for bucket in buckets)


def test_equal_slots_share_their_counters_and_rows_of_one_name_are_added() -> None:
    builder = ProgramBuilder()
    for bytes_per_call in (1, 1, 100):
        slot = KernelSlot("busy", "busy", bytes_per_call=bytes_per_call)
        builder.op("busy", record=BUSY, run=busy.address, slots=(slot,), args={"ticks": 10})
    program = builder.build()
    assert len(program.slots) == 2
    with Executor(program, 2) as executor:
        run(executor, a_step())
        (row,) = executor.kernel_stats()
    assert (row.calls, row.units, row.bytes) == (3, 3, 102)
