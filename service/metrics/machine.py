"""What a start found and chose, as series: the build, the CPU, the rung of each micro-kernel, the roofs, the load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.metrics.kernel_collector import DRAFT_OP


@dataclass(frozen=True, slots=True)
class ChosenKernel:
    """A micro-kernel of an op. `use`: gemm (several rows), gemv (one), or any. `peak`: the roof it computes under."""

    op: str
    kernel: str
    use: str
    rung: str
    peak: str


@dataclass(frozen=True, slots=True)
class MachineFacts:
    version: str
    model: str
    cpu: str
    arch: str
    num_threads: int
    kernels: tuple[ChosenKernel, ...]
    load_s: Mapping[str, float]
    """Seconds by stage of the start."""
    packed_cache: str
    """hit, miss, off or failed."""
    tuning: str
    """measured, remembered, static or off."""
    weight_bytes: int
    """Packed."""
    kv_type: str
    kv_bytes: int
    kv_block_tokens: int
    draft: MachineFacts | None = None
    """Of the draft model."""
    peak_rung: str = ""
    peak_bytes_per_s: float | None = None
    """What the team can read from memory. None: not measured."""
    peak_operations_per_s: Mapping[str, float] = field(default_factory=dict)
    """What it can compute, by kind: int8, f32."""


class MachineCollector(Collector):
    """Facts do not change, so neither do the families."""

    def __init__(self, facts: MachineFacts) -> None:
        self._families = tuple(_families(facts))

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(facts: MachineFacts) -> Iterable[Metric]:
    yield _info(
        "gemmule_build_info",
        "What runs, and where.",
        {
            "version": facts.version,
            "model": facts.model,
            "cpu": facts.cpu,
            "arch": facts.arch,
            "threads": str(facts.num_threads),
            "kv_type": facts.kv_type,
        },
    )
    labels = ("op", "kernel", "use", "rung", "peak")
    kernels = GaugeMetricFamily(
        "gemmule_kernel_info", "The micro-kernels that were chosen, and the rung of each.", labels=labels
    )
    of_draft = () if facts.draft is None else facts.draft.kernels
    for chosen in (*facts.kernels, *(replace(chosen, op=DRAFT_OP + chosen.op) for chosen in of_draft)):
        kernels.add_metric([getattr(chosen, label) for label in labels], 1)
    yield kernels
    load = GaugeMetricFamily("gemmule_load_seconds", "What the start took, by stage.", labels=("stage",))
    for stage, seconds in facts.load_s.items():
        load.add_metric((stage,), seconds)
    yield load
    yield _info(
        "gemmule_packed_cache_info",
        "Whether the packed weights were found in the cache folder: hit, miss (packed and kept), off, failed.",
        {"result": facts.packed_cache},
    )
    yield _info(
        "gemmule_autotune_info",
        "Where the choice of tiles came from: measured (at this start), remembered, static (no choice here), off.",
        {"result": facts.tuning},
    )
    yield GaugeMetricFamily("gemmule_weights_bytes", "Packed weights.", value=facts.weight_bytes)
    yield GaugeMetricFamily("gemmule_kv_capacity_bytes", "The KV cache as a whole.", value=facts.kv_bytes)
    yield GaugeMetricFamily("gemmule_kv_block_tokens", "Tokens in a KV block.", value=facts.kv_block_tokens)
    if facts.draft is not None:
        draft = facts.draft
        yield GaugeMetricFamily("gemmule_draft_weights_bytes", "Packed weights, draft model.", value=draft.weight_bytes)
        yield GaugeMetricFamily("gemmule_draft_kv_capacity_bytes", "Its KV cache as a whole.", value=draft.kv_bytes)
    if facts.peak_bytes_per_s is not None:
        yield GaugeMetricFamily(
            "gemmule_machine_peak_bytes_per_second",
            "What the team can read from memory, measured at start.",
            value=facts.peak_bytes_per_s,
        )
    peaks = GaugeMetricFamily(
        "gemmule_machine_peak_ops_per_second",
        "What the team can compute from registers with the instructions of a rung, measured at start.",
        labels=("peak", "rung"),
    )
    for kind, rate in facts.peak_operations_per_s.items():
        peaks.add_metric((kind, facts.peak_rung), rate)
    yield peaks


def _info(name: str, text: str, labels: Mapping[str, str]) -> Metric:
    """A gauge that is 1, which both formats know."""
    family = GaugeMetricFamily(name, text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), 1)
    return family
