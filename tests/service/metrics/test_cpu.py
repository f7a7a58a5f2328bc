"""CPU time by part: each second belongs to one part, and none is lost."""

import itertools
import threading
import time

import pytest

from service.metrics.cpu import CpuCollector, cpu_by_part


def burn(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


@pytest.mark.parametrize(("name", "part"), [("engine", "engine"), ("gemmule-3", "team"), ("mask_0", "masks")])
def test_a_thread_s_time_is_its_part_s(name: str, part: str) -> None:
    before = cpu_by_part()
    burnt, seen = threading.Event(), threading.Event()

    def work() -> None:
        burn(0.2)
        burnt.set()
        seen.wait()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    burnt.wait()
    after = cpu_by_part()
    seen.set()
    thread.join()
    assert after[part] - before[part] >= 0.15  # the clock's steps
    assert sum(after.values()) == pytest.approx(time.process_time(), abs=0.5)


def test_counters_never_fall() -> None:
    collector = CpuCollector()
    values = [{s.labels["part"]: s.value for family in collector.collect() for s in family.samples} for _ in range(50)]
    assert set(values[0]) == {"engine", "team", "masks", "faces"}
    for before, after in itertools.pairwise(values):
        assert all(after[part] >= before[part] for part in before)
