"""The executor's facts as a Prometheus histogram and counters."""

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from kernels.runtime.stats import KernelStats
from kernels.runtime.ticks import NUM_BUCKETS
from kernels.self_test import Fault
from service.metrics.exposition import Exposition
from service.metrics.kernel_collector import CompilationCollector, KernelText, SelfTestCollector

KERNEL = "matmul_clamp_f32_qsi8d32p4x8_qsi4c32p4x8_8x4x32_neon_i8mm"


def stats(phase: str = "decode", **changes: object) -> KernelStats:
    values: dict[str, object] = {
        "kernel": KERNEL,
        "op": "ffn_up",
        "phase": phase,
        "calls": 3,
        "seconds": 0.125,
        "barrier_seconds": 0.03,
        "wall_seconds": 0.0775,
        "lead_seconds": 0.07,
        "units": 3,
        "bytes": 6000,
        "operations": 12000,
        "histogram": (1, 2, *[0] * (NUM_BUCKETS - 3), 3),
    }
    return KernelStats(**{**values, **changes})  # type: ignore[arg-type]


def scrape(rows: list[KernelStats], accept: str = "") -> str:
    exposition = Exposition(CollectorRegistry())
    text = KernelText()
    text.add(lambda: rows)
    exposition.add(text)
    return exposition.scrape(accept)[0].decode()


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_histogram_is_cumulative_and_labelled_by_kernel_op_and_phase() -> None:
    found = values(scrape([stats(), stats("prefill", calls=1, seconds=0.5)]))
    labels = {"kernel": KERNEL, "op": "ffn_up", "phase": "decode"}

    def value(name: str, labels: dict[str, str]) -> float:
        return found[name, frozenset(labels.items())]

    for le, count in (("6.4e-08", 1), ("9.6e-08", 3), ("0.000393216", 3), ("0.536870912", 3), ("+Inf", 6)):
        assert value("gemmule_kernel_duration_seconds_bucket", {**labels, "le": le}) == count
    assert value("gemmule_kernel_duration_seconds_count", labels) == 6
    assert value("gemmule_kernel_duration_seconds_sum", labels) == 0.125
    assert value("gemmule_kernel_duration_seconds_sum", {**labels, "phase": "prefill"}) == 0.5
    assert value("gemmule_kernel_calls_total", labels) == 3
    assert value("gemmule_kernel_bytes_total", labels) == 6000
    assert value("gemmule_kernel_ops_total", labels) == 12000
    assert value("gemmule_kernel_wall_seconds_total", labels) == 0.0775
    assert value("gemmule_kernel_barrier_seconds_total", labels) == 0.03


def test_both_formats_parse_and_say_the_same() -> None:
    text = scrape([stats(), stats("mixed")])
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["gemmule_kernel_duration_seconds"].type == "histogram"
    assert families["gemmule_kernel_calls"].type == "counter"
    open_text = scrape([stats(), stats("mixed")], "application/openmetrics-text")
    open_families = list(openmetrics_families(open_text))
    assert {family.name: family.type for family in open_families} == {
        name: family.type for name, family in families.items()
    }
    samples = [sample for family in open_families for sample in family.samples]
    assert values(text) == {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def test_no_kernels_yet() -> None:
    assert "gemmule_kernel_duration_seconds_bucket" not in scrape([])


def test_series_go_on_from_scrape_to_scrape() -> None:
    rows = [stats()]
    exposition = Exposition(CollectorRegistry())
    text = KernelText()
    text.add(lambda: rows)
    exposition.add(text)
    first = values(exposition.scrape()[0].decode())
    rows[:] = [stats(calls=5), stats("mixed")]
    second = values(exposition.scrape()[0].decode())
    assert first.keys() < second.keys()
    key = ("gemmule_kernel_calls_total", frozenset({("kernel", KERNEL), ("op", "ffn_up"), ("phase", "decode")}))
    assert (first[key], second[key]) == (3, 5)


def test_compilations_and_cache_hits() -> None:
    registry = CollectorRegistry()
    registry.register(CompilationCollector(lambda: 7, lambda: 8))
    assert registry.get_sample_value("gemmule_kernel_compilations_total") == 7
    assert registry.get_sample_value("gemmule_kernel_cache_hits_total") == 8


def test_a_failed_self_test_is_counted_with_its_reason() -> None:
    registry = CollectorRegistry()
    fault = Fault("matmul_x_avx2", "avx2", "Q4_0", "row 0, column 1 is 7, the reference 3")
    registry.register(SelfTestCollector(lambda: [fault]))
    labels = {"kernel": fault.kernel, "rung": fault.rung, "weights": fault.source, "reason": fault.reason}
    assert registry.get_sample_value("gemmule_kernel_self_test_failures_total", labels) == 1
