"""What every micro-kernel costs, read from the executor's arrays at each scrape. Knows no HTTP.

Nothing on the hot path knows about Prometheus: the executor counts into arrays, a scrape copies them.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

LABELS = ("kernel", "op", "phase")


class KernelStats(Protocol):
    """kernels.runtime.stats.KernelStats. Not imported: it brings numba, which has to wait for the loading thread."""

    @property
    def kernel(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def phase(self) -> str: ...
    @property
    def calls(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def barrier_seconds(self) -> float: ...
    @property
    def wall_seconds(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def operations(self) -> int: ...
    @property
    def histogram(self) -> Sequence[int]: ...


class KernelFault(Protocol):
    """kernels.self_test.Fault."""

    @property
    def kernel(self) -> str: ...
    @property
    def rung(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def reason(self) -> str: ...


class KernelCollector(Collector):
    def __init__(self, kernel_stats: Callable[[], Sequence[KernelStats]]) -> None:
        self._kernel_stats = kernel_stats

    def collect(self) -> Iterable[Metric]:
        duration = HistogramMetricFamily(
            "gemmule_kernel_duration_seconds",
            "A thread's own work in one call of a micro-kernel; every thread of the team counts.",
            labels=LABELS,
        )
        counters = [
            (CounterMetricFamily(f"gemmule_kernel_{name}", text, labels=LABELS), attrgetter(field))
            for name, text, field in (
                ("calls", "Calls of a micro-kernel; the team's threads share one.", "calls"),
                ("bytes", "Bytes that a micro-kernel had to move.", "bytes"),
                ("ops", "Arithmetic operations of a micro-kernel; a multiply-add is two.", "operations"),
                ("wall_seconds", "Time the steps spent in a micro-kernel.", "wall_seconds"),
                ("barrier_seconds", "Time threads waited for the others after it, added up.", "barrier_seconds"),
            )
        ]
        for stats in self._kernel_stats():
            labels = (stats.kernel, stats.op, stats.phase)
            duration.add_metric(labels, _cumulative(stats.histogram), stats.seconds)
            for counter, field in counters:
                counter.add_metric(labels, field(stats))
        yield duration
        for counter, _ in counters:
            yield counter


def _cumulative(histogram: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus counts, in each bucket, everything up to its bound."""
    return list(zip(_bounds(), map(float, accumulate(histogram)), strict=True))


@functools.cache
def _bounds() -> tuple[str, ...]:
    from kernels.runtime.ticks import HISTOGRAM_EDGES_S  # whoever has stats has loaded numba long since

    return (*(f"{edge_s:.9g}" for edge_s in HISTOGRAM_EDGES_S), "+Inf")


class CompilationCollector(Collector):
    """Kernels compiled since the process began. It must not move once the service is ready."""

    def __init__(self, num_compilations: Callable[[], int]) -> None:
        self._num_compilations = num_compilations

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "gemmule_kernel_compilations",
            "Micro-kernels and ops compiled, not found in a cache; none once the service is ready.",
            value=self._num_compilations(),
        )


class SelfTestCollector(Collector):
    """Micro-kernels that failed at start; each has cost its rung, so the service is slower and answers rightly."""

    def __init__(self, faults: Callable[[], Sequence[KernelFault]]) -> None:
        self._faults = faults

    def collect(self) -> Iterable[Metric]:
        failures = CounterMetricFamily(
            "gemmule_kernel_self_test_failures",
            "Micro-kernels that failed their self-test at start and were replaced by a lower rung.",
            labels=("kernel", "rung", "weights", "reason"),
        )
        for fault in self._faults():
            failures.add_metric((fault.kernel, fault.rung, fault.source, fault.reason), 1)
        yield failures
