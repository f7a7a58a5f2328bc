"""What every micro-kernel costs, read from the executor's arrays at each scrape. Knows no HTTP.

Nothing on the hot path knows about Prometheus: the executor counts into arrays, a scrape copies them.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

LABELS = ("kernel", "op", "phase")


class KernelStats(Protocol):
    """One kernel in one phase since the start; kernels.runtime's facts have these fields."""

    @property
    def kernel(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def phase(self) -> str: ...
    @property
    def num_calls(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def num_operations(self) -> int: ...
    @property
    def total_s(self) -> float: ...
    @property
    def bucket_bounds_s(self) -> Sequence[float]:
        """Upper bounds, ascending; what lies above the last is counted in one more bucket."""
        ...

    @property
    def bucket_counts(self) -> Sequence[int]:
        """Calls in each bucket alone: one entry more than bounds."""
        ...


class KernelCollector(Collector):
    def __init__(self, kernel_stats: Callable[[], Sequence[KernelStats]]) -> None:
        self._kernel_stats = kernel_stats

    def collect(self) -> Iterable[Metric]:
        duration = HistogramMetricFamily(
            "gemmule_kernel_duration_seconds",
            "Time of one call of a micro-kernel, waiting for other threads apart.",
            labels=LABELS,
        )
        calls = CounterMetricFamily("gemmule_kernel_calls", "Calls of a micro-kernel.", labels=LABELS)
        moved = CounterMetricFamily("gemmule_kernel_bytes", "Bytes a micro-kernel had to move.", labels=LABELS)
        operations = CounterMetricFamily(
            "gemmule_kernel_ops", "Arithmetic operations of a micro-kernel; a multiply-add is two.", labels=LABELS
        )
        for stats in self._kernel_stats():
            labels = (stats.kernel, stats.op, stats.phase)
            duration.add_metric(labels, _cumulative(stats), stats.total_s)
            calls.add_metric(labels, stats.num_calls)
            moved.add_metric(labels, stats.num_bytes)
            operations.add_metric(labels, stats.num_operations)
        yield from (duration, calls, moved, operations)


def _cumulative(stats: KernelStats) -> list[tuple[str, float]]:
    """Prometheus counts, in each bucket, everything up to its bound."""
    bounds = [*map(floatToGoString, stats.bucket_bounds_s), "+Inf"]
    return list(zip(bounds, map(float, accumulate(stats.bucket_counts)), strict=True))


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
