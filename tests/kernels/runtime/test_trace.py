"""A trace holds the steps that were asked for, whole, with every op of every thread in its place and in order."""

import pytest

from kernels.runtime.executor import Executor
from kernels.runtime.trace import MAX_TRACED_STEPS
from tests.kernels.runtime.test_executor import a_step, counting_program, run


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_every_op_of_every_thread_of_every_step(num_threads: int) -> None:
    program, _ = counting_program(num_ops=3, num_items=50, size=3)
    with Executor(program, num_threads) as executor:
        run(executor, a_step())
        tracer = executor.tracer()
        tracer.begin(2)
        assert not tracer.is_done
        run(executor, a_step(num_tokens=4, phase="mixed"))
        run(executor, a_step(num_tokens=1, phase="decode"))
        assert tracer.is_done
        run(executor, a_step())
        trace = tracer.end()
    assert [(step.phase, step.num_tokens) for step in trace.steps] == [("mixed", 4), ("decode", 1)]
    assert trace.num_threads == num_threads
    for thread in range(num_threads):
        for number, step in enumerate(trace.steps):
            ops = [op for op in trace.ops if (op.thread, op.step) == (thread, number)]
            assert [op.index for op in ops] == [0, 1, 2][3 - len(ops) :]  # from where it joined
            assert thread > 0 or len(ops) == 3
            assert all(op.kernel == ("even" if step.num_tokens == 4 else "odd") for op in ops)
            assert all(op.name == "count" and op.units == 50 for op in ops)
            times = [step.start_s, *(t for op in ops for t in (op.start_s, op.end_s, op.barrier_end_s))]
            assert times == sorted(times)
            if thread == 0:
                assert times[-1] <= step.end_s
    even, odd = (next(op for op in trace.ops if op.kernel == kernel) for kernel in ("even", "odd"))
    assert (even.bytes, even.operations) == (10 + 50 * 2, 5 + 50 * 3)
    assert (odd.bytes, odd.operations) == (0, 0)


def test_a_trace_may_end_before_its_steps_have_come() -> None:
    program, _ = counting_program(num_ops=2, num_items=10, size=1)
    with Executor(program, 2) as executor:
        tracer = executor.tracer()
        tracer.begin(8)
        run(executor, a_step())
        assert tracer.is_busy
        assert len(tracer.end().steps) == 1
        assert not tracer.is_busy
        run(executor, a_step())
        other = executor.tracer()
        other.begin(1)
        run(executor, a_step(phase="mixed"))
        assert [step.phase for step in other.end().steps] == ["mixed"]


def test_one_trace_at_a_time() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    with Executor(program, 1) as executor:
        tracer = executor.tracer()
        assert tracer.end().steps == ()
        tracer.begin(MAX_TRACED_STEPS)
        with pytest.raises(AssertionError, match="one trace"):
            executor.tracer().begin(1)


def test_ticks_become_seconds_by_both_readings() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    with Executor(program, 1) as executor:
        now_s = [100.0]
        tracer = executor.tracer(clock=lambda: now_s[0])
        tracer.begin(1)
        run(executor, a_step())
        now_s[0] = 200.0
        (step,) = tracer.end().steps
    assert 100.0 < step.start_s < step.end_s < 200.0
