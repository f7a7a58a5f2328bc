"""The executor's facts as a Prometheus histogram and counters."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.kernel_collector import CompilationCollector, KernelCollector

KERNEL = "matmul_clamp_f32_qsi8d32p4x8_qsi4c32p4x8_8x4x32_neon_i8mm"


@dataclass(frozen=True)
class Stats:
    kernel: str = KERNEL
    op: str = "ffn_up"
    phase: str = "decode"
    num_calls: int = 6
    num_bytes: int = 6000
    num_operations: int = 12000
    total_s: float = 0.125
    bucket_bounds_s: tuple[float, ...] = (1e-6, 2e-6, 4e-6)
    bucket_counts: tuple[int, ...] = (1, 2, 0, 3)


def test_histogram_is_cumulative_and_labelled_by_kernel_op_and_phase() -> None:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: [Stats(), Stats(phase="prefill", num_calls=1, total_s=0.5)]))
    labels = {"kernel": KERNEL, "op": "ffn_up", "phase": "decode"}
    value = registry.get_sample_value
    for le, count in (("1e-06", 1), ("2e-06", 3), ("4e-06", 3), ("+Inf", 6)):
        assert value("gemmule_kernel_duration_seconds_bucket", {**labels, "le": le}) == count
    assert value("gemmule_kernel_duration_seconds_count", labels) == 6
    assert value("gemmule_kernel_duration_seconds_sum", labels) == 0.125
    assert value("gemmule_kernel_duration_seconds_sum", {**labels, "phase": "prefill"}) == 0.5
    assert value("gemmule_kernel_calls_total", labels) == 6
    assert value("gemmule_kernel_bytes_total", labels) == 6000
    assert value("gemmule_kernel_ops_total", labels) == 12000


def test_the_text_parses_back() -> None:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: [Stats()]))
    registry.register(CompilationCollector(lambda: 7))
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    assert families["gemmule_kernel_duration_seconds"].type == "histogram"
    assert families["gemmule_kernel_calls"].type == "counter"
    assert families["gemmule_kernel_compilations"].samples[0].value == 7


def test_no_kernels_yet() -> None:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: []))
    assert b"gemmule_kernel_duration_seconds_bucket" not in generate_latest(registry)
