"""A scrape says what prometheus_client's own writers say, in both formats, and leads from a bucket to a trace."""

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.exposition import Exposition


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("gemmule_test_things", 'Things; "quoted", with a \\ and\na newline.', ["what"], registry=registry)
    counter.labels('a "quoted"\n\\ value').inc(3)
    counter.labels("ü").inc(0.125)
    Gauge("gemmule_test_level", "A level.", registry=registry).set(math.inf)
    histogram = Histogram("gemmule_test_seconds", "Seconds.", ["phase"], buckets=(0.1, 1.0), registry=registry)
    histogram.labels("decode").observe(0.05, {"trace_id": "ab" * 16})
    histogram.labels("decode").observe(3)
    return registry


def samples(families: object) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families  # type: ignore[attr-defined]
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_classic_format(registry: CollectorRegistry) -> None:
    body, content_type = Exposition(registry).scrape("text/plain;version=0.0.4")
    assert content_type.startswith("text/plain; version=0.0.4")
    theirs = generate_latest(registry).decode()
    assert samples(text_string_to_metric_families(body.decode())) == samples(text_string_to_metric_families(theirs))
    assert b"# TYPE gemmule_test_things_total counter" in body
    assert b"_created" not in body
    assert b"trace_id" not in body


def test_openmetrics_with_exemplars(registry: CollectorRegistry) -> None:
    body, content_type = Exposition(registry).scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    families = list(openmetrics_families(body.decode()))
    assert samples(families) == samples(registry.collect())
    exemplars = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    assert [(exemplar.labels, exemplar.value) for exemplar in exemplars] == [({"trace_id": "ab" * 16}, 0.05)]


def test_an_empty_registry() -> None:
    exposition = Exposition(CollectorRegistry())
    assert exposition.scrape()[0] == b""
    assert exposition.scrape("application/openmetrics-text")[0] == b"# EOF\n"
