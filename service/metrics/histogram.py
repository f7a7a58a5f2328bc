"""A histogram that is quick to scrape; otherwise it is prometheus_client's, which it stands in for. Knows no metric.

prometheus_client spells each bound anew at every scrape and takes a lock per bucket: 5 ms for all of the service's
histograms, while the caches belong to the weights.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString


class Histogram(Collector):
    """`bounds`: inclusive, rising; beyond the last one there is +Inf."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), *, bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, tuple(labels), tuple(bounds)
        self._series: dict[tuple[str, ...], Series] = {}
        self._lock = threading.Lock()
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The series with these values of the labels; it is there from then on."""
        series = self._series.get(values)
        if series is None:
            assert len(values) == len(self._labels), f"{self._name} has the labels {self._labels}, not {values}"
            with self._lock:
                labels = dict(zip(self._labels, values, strict=True))
                series = self._series.setdefault(values, Series(self._name, labels, self._bounds))
        return series

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Of a histogram without labels."""
        self.labels().observe(value, exemplar)

    def describe(self) -> Iterable[Metric]:
        yield Metric(self._name, self._text, "histogram")

    def collect(self) -> Iterable[Metric]:
        family = Metric(self._name, self._text, "histogram")
        for series in list(self._series.values()):
            family.samples += series.samples()
        yield family


class Series:
    """One histogram of a family. Any thread may observe and read it."""

    def __init__(self, name: str, labels: dict[str, str], bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: list[Exemplar | None] = [None] * len(self._counts)
        self._sum = 0.0
        self._lock = threading.Lock()
        spelled = [*map(floatToGoString, bounds), "+Inf"]
        self._buckets = [(f"{name}_bucket", {**labels, "le": bound}) for bound in spelled]
        self._count, self._total = (f"{name}_count", labels), (f"{name}_sum", labels)
        self._created = Sample(f"{name}_created", labels, time.time())

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        place = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[place] += 1
            self._sum += value
            if exemplar:
                self._exemplars[place] = Exemplar(dict(exemplar), value, time.time())

    def samples(self) -> list[Sample]:
        with self._lock:
            counts, total, exemplars = self._counts.copy(), self._sum, self._exemplars.copy()
        found = [
            Sample(name, labels, float(count), None, exemplar)
            for (name, labels), count, exemplar in zip(self._buckets, accumulate(counts), exemplars, strict=True)
        ]
        found.append(Sample(*self._count, found[-1].value))
        found.append(Sample(*self._total, total))
        found.append(self._created)
        return found
