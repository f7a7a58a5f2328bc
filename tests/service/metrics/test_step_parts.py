"""The parts of a step are the engine thread's wall time, whoever measured them."""

import pytest
from prometheus_client import CollectorRegistry

from kernels.runtime.stats import ExecutorTimes, ThreadTimes
from service.metrics.step_parts import PARTS, EngineTimes, NativeTimes, StepPartsCollector, parts_of
from tests.service.metrics.test_kernel_collector import stats

WARM_UP = NativeTimes(call_s=1.0, wall_s=0.9, dispatch_s=0.1, work_s=0.5, barrier_s=0.3, sample_s=0.05)


def test_the_parts_are_all_of_the_wall_time() -> None:
    native = NativeTimes(call_s=11.0, wall_s=10.4, dispatch_s=0.3, work_s=7.7, barrier_s=2.4, sample_s=0.75, turn_s=0.2)
    parts = parts_of(EngineTimes(plan_s=0.4, run_s=10.5, commit_s=0.6, idle_s=3.0), native, WARM_UP, draft_s=0.1)
    assert tuple(parts) == PARTS
    assert parts == pytest.approx(
        {
            "plan": 0.3,
            "draft": 0.1,
            "fill": 0.3,
            "turn": 0.2,
            "dispatch": 0.2,
            "kernels": 6.5,
            "sample": 0.7,
            "barrier": 2.1,
            "gil_wait": 0.5,
            "commit": 0.6,
            "idle": 3.0,
        }
    )
    assert sum(parts.values()) == pytest.approx(0.4 + 10.5 + 0.6 + 3.0)


def test_threads_and_parts_as_series_from_the_end_of_the_warm_up() -> None:
    times = [ExecutorTimes(1, 0.5, 0.6, (ThreadTimes(0.3, 0.1, 0.1), ThreadTimes(0.2, 0.2, 0.1)))]
    registry = CollectorRegistry()
    rows = [stats(lead_seconds=0.2), stats(op="sample", lead_seconds=0.1)]
    registry.register(StepPartsCollector(lambda: EngineTimes(1.0, 2.0, 3.0, 4.0), lambda: times[-1], lambda: rows))
    value = registry.get_sample_value
    assert value("gemmule_step_part_seconds_total", {"part": "kernels"}) == 0
    assert value("gemmule_step_part_seconds_total", {"part": "idle"}) == 4.0
    times.append(ExecutorTimes(2, 1.5, 1.8, (ThreadTimes(1.0, 0.3, 0.2), ThreadTimes(0.9, 0.4, 0.2))))
    assert value("gemmule_step_part_seconds_total", {"part": "kernels"}) == pytest.approx(0.7)
    assert value("gemmule_step_part_seconds_total", {"part": "barrier"}) == pytest.approx(0.2)
    assert value("gemmule_step_part_seconds_total", {"part": "gil_wait"}) == pytest.approx(0.2)
    assert value("gemmule_thread_seconds_total", {"thread": "1", "part": "work"}) == 0.9
    assert value("gemmule_thread_seconds_total", {"thread": "0", "part": "dispatch"}) == 0.2


def test_what_the_draft_model_takes_is_no_part_of_the_plan() -> None:
    times = ExecutorTimes(1, 0.5, 0.6, (ThreadTimes(0.3, 0.1, 0.1),))
    draft_times = [ExecutorTimes(1, 0.1, 0.2, (ThreadTimes(0.1, 0.0, 0.0),))]
    registry = CollectorRegistry()
    rows = [stats(lead_seconds=0.2)]
    registry.register(
        StepPartsCollector(
            lambda: EngineTimes(1.0, 2.0, 3.0, 4.0), lambda: times, lambda: rows, lambda: draft_times[-1]
        )
    )
    value = registry.get_sample_value
    assert value("gemmule_step_part_seconds_total", {"part": "draft"}) == 0
    draft_times.append(ExecutorTimes(5, 0.4, 0.5, (ThreadTimes(0.4, 0.0, 0.0),), turn_s=0.1))
    assert value("gemmule_step_part_seconds_total", {"part": "draft"}) == pytest.approx(0.4)
    assert value("gemmule_step_part_seconds_total", {"part": "plan"}) == pytest.approx(0.6)
