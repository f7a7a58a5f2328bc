"""What every micro-kernel costs, read from the executor's arrays at each scrape. Knows no HTTP.

Nothing on the hot path knows about Prometheus: the executor counts into arrays, a scrape copies them.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from kernels.runtime.histogram import HISTOGRAM_EDGES_S
from service.metrics.exposition import series

BOUNDS = (*(f"{edge_s:.9g}" for edge_s in HISTOGRAM_EDGES_S), "+Inf")
LABELS = ("kernel", "op", "phase")
DRAFT_OP = "draft_"
"""Before the names of a draft model's ops."""
HISTOGRAM = "gemmule_kernel_duration_seconds"
COUNTERS = (
    ("calls", "Calls of a micro-kernel; the team's threads share one.", attrgetter("calls")),
    ("bytes", "Bytes that a micro-kernel had to move.", attrgetter("bytes")),
    ("ops", "Arithmetic operations of a micro-kernel; a multiply-add is two.", attrgetter("operations")),
    ("wall_seconds", "Time the steps spent in a micro-kernel.", attrgetter("wall_seconds")),
    ("barrier_seconds", "Time threads waited for the others after it, added up.", attrgetter("barrier_seconds")),
)


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
    def lead_seconds(self) -> float: ...
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


class KernelText:
    """A TextSource: the micro-kernels' histograms are most of a scrape."""

    def __init__(self) -> None:
        self._sources: list[tuple[str, str, Callable[[], Sequence[KernelStats]]]] = []
        self._spelled: dict[tuple[str, str, str, str], _Spelled] = {}

    def add(self, kernel_stats: Callable[[], Sequence[KernelStats]], model: str = "", before_op: str = "") -> None:
        """`model`: the value of a label; empty: there is no such label, for there is one model.

        `before_op`: of the names of its ops.
        """
        self._sources.append((model, before_op, kernel_stats))

    def __len__(self) -> int:
        """How many sources."""
        return len(self._sources)

    def text(self, is_openmetrics: bool) -> Iterable[str]:
        rows = []
        for model, before_op, kernel_stats in self._sources:
            for stats in kernel_stats():
                key = (model, stats.kernel, before_op + stats.op, stats.phase)
                spelled = self._spelled.get(key)
                if spelled is None:
                    # As many as the models have, by three phases: nothing that a client sends makes one more.
                    spelled = self._spelled[key] = _Spelled(*key)
                rows.append((stats, spelled))
        yield (
            f"# HELP {HISTOGRAM} A thread's own work in one call of a micro-kernel; threads in the step count.\n"
            f"# TYPE {HISTOGRAM} histogram\n"
        )
        for stats, spelled in rows:
            counts = tuple(accumulate(stats.histogram))
            yield spelled.histogram % (*counts, counts[-1], stats.seconds)
        for index, (name, text, field) in enumerate(COUNTERS):
            family = f"gemmule_kernel_{name}{'' if is_openmetrics else '_total'}"
            yield f"# HELP {family} {text}\n# TYPE {family} counter\n"
            for stats, spelled in rows:
                yield f"{spelled.counters[index]}{field(stats)!r}\n"


class _Spelled:
    """The lines of one (model, kernel, op, phase); `histogram` is formatted whole, by its counts and its sum."""

    def __init__(self, model: str, *labels: str) -> None:
        own = ({"model": model} if model else {}) | dict(zip(LABELS, labels, strict=True))
        counts = [series(f"{HISTOGRAM}_bucket", {**own, "le": bound}) for bound in BOUNDS]
        counts.append(series(f"{HISTOGRAM}_count", own))
        lines = [*(name.replace("%", "%%") + " %d\n" for name in counts)]
        self.histogram = "".join(lines) + series(f"{HISTOGRAM}_sum", own).replace("%", "%%") + " %r\n"
        self.counters = [series(f"gemmule_kernel_{name}_total", own) + " " for name, _, _ in COUNTERS]


class CompilationCollector(Collector):
    """Kernels compiled since the process began. It must not move once the service is ready."""

    def __init__(self, num_compilations: Callable[[], int], num_cache_hits: Callable[[], int]) -> None:
        self._num_compilations = num_compilations
        self._num_cache_hits = num_cache_hits

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "gemmule_kernel_compilations",
            "Micro-kernels and ops compiled, not found in a cache; none once the service is ready.",
            value=self._num_compilations(),
        )
        yield CounterMetricFamily(
            "gemmule_kernel_cache_hits",
            "Micro-kernels and ops found compiled in the cache folder.",
            value=self._num_cache_hits(),
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
