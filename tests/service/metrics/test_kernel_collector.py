"""The executor's facts as a Prometheus histogram and counters."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kernels.runtime.stats import KernelStats
from kernels.runtime.ticks import NUM_BUCKETS
from kernels.self_test import Fault
from service.metrics.kernel_collector import CompilationCollector, KernelCollector, SelfTestCollector

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


def test_histogram_is_cumulative_and_labelled_by_kernel_op_and_phase() -> None:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: [stats(), stats("prefill", calls=1, seconds=0.5)]))
    labels = {"kernel": KERNEL, "op": "ffn_up", "phase": "decode"}
    value = registry.get_sample_value
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


def test_the_text_parses_back() -> None:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: [stats()]))
    registry.register(CompilationCollector(lambda: 7))
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    assert families["gemmule_kernel_duration_seconds"].type == "histogram"
    assert families["gemmule_kernel_calls"].type == "counter"
    assert families["gemmule_kernel_compilations"].samples[0].value == 7


def test_no_kernels_yet() -> None:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: []))
    assert b"gemmule_kernel_duration_seconds_bucket" not in generate_latest(registry)


def test_a_failed_self_test_is_counted_with_its_reason() -> None:
    registry = CollectorRegistry()
    fault = Fault("matmul_x_avx2", "avx2", "Q4_0", "row 0, column 1 is 7, the reference 3")
    registry.register(SelfTestCollector(lambda: [fault]))
    labels = {"kernel": fault.kernel, "rung": fault.rung, "weights": fault.source, "reason": fault.reason}
    assert registry.get_sample_value("gemmule_kernel_self_test_failures_total", labels) == 1
