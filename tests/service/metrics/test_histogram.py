"""The service's histogram says what prometheus_client's says of the same observations."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from service.metrics.histogram import Histogram

BOUNDS = (0.005, 0.1, 1.0, 2.5)


def family(registry: CollectorRegistry) -> Metric:
    (found,) = registry.collect()
    return found


@given(st.lists(st.tuples(st.sampled_from(("prefill", "decode")), st.floats(0, 10) | st.sampled_from(BOUNDS))))
def test_it_counts_as_the_library_does(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = Histogram("gemmule_test_seconds", "Seconds.", ("phase",), bounds=BOUNDS, registry=ours)
    library = prometheus_client.Histogram(
        "gemmule_test_seconds", "Seconds.", ("phase",), buckets=BOUNDS, registry=theirs
    )
    for phase, value in observed:
        own.labels(phase).observe(value)
        library.labels(phase).observe(value)
    got, wanted = family(ours), family(theirs)
    assert (got.name, got.documentation, got.type) == (wanted.name, wanted.documentation, wanted.type)

    def values(metric: Metric) -> list[tuple[str, dict[str, str], float]]:
        return [(one.name, one.labels, one.value) for one in metric.samples if not one.name.endswith("_created")]

    assert values(got) == values(wanted)
    assert len(got.samples) == len(wanted.samples)


def test_an_exemplar_stays_with_its_bucket() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("gemmule_test_seconds", "Seconds.", bounds=BOUNDS, registry=registry)
    histogram.observe(0.5, {"trace_id": "a"})
    histogram.observe(0.6)
    histogram.observe(0.05, {})
    exemplars = {one.labels.get("le"): one.exemplar for one in family(registry).samples}
    assert exemplars["1.0"] is not None
    assert (exemplars["1.0"].labels, exemplars["1.0"].value) == ({"trace_id": "a"}, 0.5)
    assert exemplars["0.1"] is None


def test_a_name_is_taken_once_and_labels_are_counted() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("gemmule_test_seconds", "Seconds.", ("phase",), bounds=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="gemmule_test_seconds"):
        Histogram("gemmule_test_seconds", "Again.", bounds=BOUNDS, registry=registry)
    with pytest.raises(AssertionError, match="phase"):
        histogram.labels("prefill", "more")
