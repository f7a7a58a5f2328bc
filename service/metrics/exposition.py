"""The text of a scrape, in Prometheus' format or OpenMetrics' as the scraper wishes. Knows no metric.

prometheus_client's own writer takes ten microseconds a line, which is 50 ms for a histogram per micro-kernel; this one
remembers how each series is spelled. Sources that know their own text (`TextSource`) hand it over whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_UNUSUAL = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
_Series = tuple[str, dict[str, str]]


class TextSource(Protocol):
    """Families that are written by who counts them."""

    def text(self, is_openmetrics: bool) -> Iterable[str]:
        """Pieces of whole lines, each ending with a newline."""
        ...


class Exposition:
    """One /metrics. May be asked on any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._sources: list[TextSource] = []
        self._collectors: list[Collector] = []
        self._spellings: dict[tuple[str, bool], tuple[list[_Series], list[str]]] = {}

    def add(self, source: TextSource) -> None:
        self._sources.append(source)

    def add_collector(self, collector: Collector) -> None:
        """One that reads the registry, and so cannot be in it."""
        self._collectors.append(collector)

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """(body, content type) for the Accept header of the request."""
        is_openmetrics = "application/openmetrics-text" in accept
        pieces: list[str] = []
        for collector in (self.registry, *self._collectors):
            for family in collector.collect():
                self._write(family, is_openmetrics, pieces)
        for source in self._sources:
            pieces += source.text(is_openmetrics)
        if is_openmetrics:
            pieces.append("# EOF\n")
        return "".join(pieces).encode(), OPENMETRICS if is_openmetrics else CONTENT_TYPE_PLAIN_0_0_4

    def _write(self, family: Metric, is_openmetrics: bool, pieces: list[str]) -> None:
        name, kind = family.name, family.type
        if not is_openmetrics:
            # The old format knows neither info nor the times at which counters began.
            name = {"counter": f"{name}_total", "info": f"{name}_info"}.get(kind, name)
            kind = {"info": "gauge", "stateset": "gauge", "unknown": "untyped"}.get(kind, kind)
        help_text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        if is_openmetrics:
            help_text = help_text.replace('"', r"\"")
        pieces.append(f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n")
        samples: Sequence[Sample] = family.samples
        if not is_openmetrics:
            samples = [sample for sample in samples if not sample.name.endswith("_created")]
        for sample, spelled in zip(samples, self._spelled(family.name, is_openmetrics, samples), strict=True):
            line = spelled + _number(sample.value)
            if is_openmetrics and sample.exemplar is not None:
                line += _exemplar(sample.exemplar)
            pieces.append(line + "\n")

    def _spelled(self, family: str, is_openmetrics: bool, samples: Iterable[Sample]) -> list[str]:
        """The lines of the samples up to their values; from one scrape to the next a family's are mostly the same."""
        wanted = [(sample.name, sample.labels) for sample in samples]
        known, spelled = self._spellings.get((family, is_openmetrics), ([], []))
        if known != wanted:
            spelled = [series(name, labels) + " " for name, labels in wanted]
            self._spellings[family, is_openmetrics] = wanted, spelled
        return spelled


def series(name: str, labels: Mapping[str, str]) -> str:
    """name{label="value",...}"""
    if not labels:
        return name
    spelled = ",".join(f'{label}="{escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{spelled}}}"


def _number(value: float) -> str:
    text = repr(float(value))
    return _UNUSUAL.get(text, text)


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _exemplar(exemplar: Exemplar) -> str:
    at = f" {exemplar.timestamp}" if exemplar.timestamp is not None else ""
    return f" # {series('', exemplar.labels) or '{}'} {_number(exemplar.value)}{at}"
