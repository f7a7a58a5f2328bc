"""The series of several models: each says whose it is, and a family is written once."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from service.engine.block_tables import PrefixStats
from service.engine.client import EngineStats
from service.metrics.exposition import Exposition
from service.metrics.kernel_collector import KernelText
from service.metrics.model_series import ModelSeries
from service.metrics.service_metrics import ServiceMetrics
from tests.service.fake_service import FakeModel
from tests.service.metrics.test_kernel_collector import stats

STATS = EngineStats(
    num_queued=0,
    num_running=1,
    num_used_blocks=2,
    num_blocks=3,
    num_cached_blocks=0,
    prefixes=PrefixStats(),
    heartbeat_age_s=0.5,
    is_alive=True,
    idle_s=1.0,
)


def families(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in found, f"{family.name} comes twice"
        found[family.name] = [(sample.labels, sample.value) for sample in family.samples]
    return found


def test_each_series_says_whose_it_is() -> None:
    series = ModelSeries()
    for model, amount in (("a", 1), ("b", 2)):
        registry = series.registry(model)
        Counter("steps", "Steps.", ("phase",), registry=registry).labels("decode").inc(amount)
        Histogram("wait", "Wait.", registry=registry, buckets=(1.0,)).observe(amount)
        Counter("theirs", "With a name.", ("model_name",), registry=registry).labels(model).inc()
    exposition = Exposition(CollectorRegistry())
    exposition.add_collector(series)
    found = families(exposition.scrape()[0].decode())
    assert found["steps"] == [({"model": "a", "phase": "decode"}, 1), ({"model": "b", "phase": "decode"}, 2)]
    assert ({"model": "b", "le": "1.0"}, 0) in found["wait"]
    assert found["theirs"] == [({"model_name": "a"}, 1), ({"model_name": "b"}, 1)]


def test_kernels_of_several_models() -> None:
    text = KernelText()
    for model in ("a", "b"):
        text.add(lambda: [stats()], model)
    exposition = Exposition(CollectorRegistry())
    exposition.add(text)
    found = families(exposition.scrape()[0].decode())
    assert [labels["model"] for labels, _ in found["gemmule_kernel_calls"]] == ["a", "b"]


def test_all_series_of_two_models() -> None:
    metrics = ServiceMetrics(has_vllm_names=True, has_many_models=True)
    for model in ("a", "b"):
        metrics.observer(model)
        metrics.open(model, FakeModel(), lambda: STATS)
    found = families(metrics.exposition.scrape()[0].decode())
    for name in ("gemmule_generation_tokens", "gemmule_weights_bytes", "gemmule_step_part_seconds"):
        assert {labels["model"] for labels, _ in found[name]} == {"a", "b"}


def test_one_model_has_no_such_label() -> None:
    metrics = ServiceMetrics()
    metrics.observer("a")
    found = families(metrics.exposition.scrape()[0].decode())
    assert found["gemmule_generation_tokens"] == [({}, 0)]
