"""CPU time of the process by part: the engine thread, its team, masks of structured output, and the rest (the faces).

Read from /proc, where a thread's time has steps of a clock tick (10 ms as a rule). Knows no request.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

TASKS = Path("/proc/self/task")
PARTS = {"engine": "engine", "gemmule-": "team", "mask": "masks"}
"""How the names of a part's threads begin."""
REST = "faces"


class CpuCollector(Collector):
    def __init__(self) -> None:
        self._most = dict.fromkeys((*PARTS.values(), REST), 0.0)

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "gemmule_cpu_seconds", "CPU time of the process by part; faces: all that is no other part.", labels=["part"]
        )
        for part, seconds in cpu_by_part().items():
            # Two clocks of different steps: their difference may go back by one.
            self._most[part] = max(self._most[part], seconds)
            family.add_metric([part], self._most[part])
        yield family


def cpu_by_part() -> Mapping[str, float]:
    seconds = dict.fromkeys(PARTS.values(), 0.0)
    for thread in threading.enumerate():
        part = next((part for start, part in PARTS.items() if thread.name.startswith(start)), None)
        if part is not None and thread.native_id is not None:
            seconds[part] += thread_cpu_s(thread.native_id)
    return {**seconds, REST: max(0.0, time.process_time() - sum(seconds.values()))}


def thread_cpu_s(native_id: int) -> float:
    """Of one of our threads; 0 if it has ended."""
    try:
        stat = (TASKS / str(native_id) / "stat").read_text()
    except OSError:
        return 0.0
    # After the name, which may hold anything: state, then ten fields, then user and system time in clock ticks.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
