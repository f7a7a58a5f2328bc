"""The series of several models in one process: each model has a registry of its own, a scrape adds the label `model`.

One model needs no such label, and its series are in the process' registry. Counts nothing. There are as many values of
the label as the process was started with, at most service.settings.MAX_MODELS.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

LABEL = "model"
NAMED = frozenset({LABEL, "model_name", "gen_ai_request_model"})
"""Labels of series that say themselves whose they are."""


class ModelSeries(Collector):
    def __init__(self) -> None:
        self._collectors: dict[str, list[CollectorRegistry | Collector]] = {}

    def registry(self, model: str) -> CollectorRegistry:
        """A new one, whose series are this model's."""
        made = CollectorRegistry()
        self.add(model, made)
        return made

    def add(self, model: str, collector: CollectorRegistry | Collector) -> None:
        self._collectors.setdefault(model, []).append(collector)

    def collect(self) -> Iterable[Metric]:
        """A family once, with the samples of all models."""
        families: dict[str, Metric] = {}
        for model, collectors in self._collectors.items():
            for collector in collectors:
                for found in collector.collect():
                    family = families.get(found.name)
                    if family is None:
                        family = families[found.name] = Metric(found.name, found.documentation, found.type)
                    family.samples += [_labelled(sample, model) for sample in found.samples]
        return families.values()


def _labelled(sample: Sample, model: str) -> Sample:
    return sample if NAMED & sample.labels.keys() else sample._replace(labels={LABEL: model, **sample.labels})
