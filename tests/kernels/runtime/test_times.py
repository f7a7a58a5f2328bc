"""The clocks add up: work, barrier and dispatch of each thread are the wall time of its steps; counting can stop."""

import time

import pytest

from kernels.runtime.executor import Executor
from kernels.runtime.program import KernelSlot, ProgramBuilder
from kernels.runtime.ticks import tick_rate, ticks_now
from tests.kernels.runtime.test_executor import BUSY, a_step, busy, counting_program, run

RATE = 1.01
"""Ticks a second are known to a thousandth, on a busy and emulated machine too; counts are held against the clock
to ten of them, and against ticks that the test reads itself exactly."""


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_work_barrier_and_dispatch_of_every_thread_are_the_wall_time(num_threads: int) -> None:
    builder = ProgramBuilder()
    for _ in range(20):
        slot = (KernelSlot("busy", "busy"),)
        builder.op("busy", record=BUSY, run=busy.address, slots=slot, args={"ticks": 2_000_000})
    with Executor(builder.build(), num_threads) as executor:
        begun = ticks_now()
        for phase in ("prefill", "decode", "decode"):
            run(executor, a_step(phase=phase))
        took = ticks_now() - begun
        times = executor.times()
    assert times.steps == 3
    assert len(times.threads) == num_threads
    assert 0 < times.wall_s <= RATE * times.call_s
    assert round(times.wall_s * tick_rate()) <= took
    for index, thread in enumerate(times.threads):
        total_s = thread.work + thread.barrier + thread.dispatch
        # A worker sees the end of a step when it is scheduled next: apart from that the sums are exact.
        assert total_s == pytest.approx(times.wall_s, rel=1e-6 if index == 0 else 0.5)
        assert thread.work > 0
        assert thread.dispatch > 0


def test_ticks_and_the_clock_agree() -> None:
    builder = ProgramBuilder()
    builder.op("busy", record=BUSY, run=busy.address, slots=(KernelSlot("busy", "busy"),), args={"ticks": 20_000_000})
    with Executor(builder.build(), 1) as executor:
        begun, begun_s = ticks_now(), time.perf_counter()
        for _ in range(10):
            run(executor, a_step())
        took_s, took = time.perf_counter() - begun_s, ticks_now() - begun
        times = executor.times()
    assert times.wall_s <= RATE * times.call_s
    assert round(times.wall_s * tick_rate()) <= took
    assert times.call_s <= took_s
    assert times.wall_s > 0.5 * took_s


def test_what_is_not_counted_leaves_no_trace_in_the_sums() -> None:
    program, counts = counting_program(num_ops=2, num_items=20, size=3)
    with Executor(program, 2) as executor:
        run(executor, a_step())
        executor.count(False)
        run(executor, a_step())
        assert [row.calls for row in executor.kernel_stats()] == [2]
        assert executor.times().steps == 1
        executor.count(True)
        run(executor, a_step())
        assert [row.calls for row in executor.kernel_stats()] == [4]
        assert executor.times().steps == 2
    assert (counts == 6).all()


def test_the_lead_is_thread_0() -> None:
    program, _ = counting_program(num_ops=4, num_items=100, size=3)
    with Executor(program, 3) as executor:
        for _ in range(5):
            run(executor, a_step())
        (row,) = executor.kernel_stats()
        lead = executor.times().threads[0]
    assert row.lead_seconds == pytest.approx(lead.work)
    assert row.wall_seconds == pytest.approx(lead.work + lead.barrier)
    assert 0 < row.lead_seconds <= row.seconds
