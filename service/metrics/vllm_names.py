"""Our series under vLLM's names, for dashboards, autoscalers and gateways that know those. Counts nothing itself.

The names are vLLM 0.32's; labels are its `model_name` and `engine`. Bounds of histograms stay ours, which are finer.
Labels that vLLM does not have are summed over.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from service.engine.client import EngineStats

BLOCK_TOKENS = "gemmule_kv_block_tokens"


@dataclass(frozen=True, slots=True)
class Alias:
    """`ours` without its prefix -> `theirs` without its; `labels`: ours -> theirs, of those that are kept."""

    ours: str
    theirs: str
    labels: tuple[tuple[str, str], ...] = ()
    is_counted: bool = False
    """Of a histogram of ours, its count is a counter of theirs."""


ALIASES = (
    Alias("requests_running", "num_requests_running"),
    Alias("requests_waiting", "num_requests_waiting"),
    Alias("kv_usage_ratio", "kv_cache_usage_perc"),
    Alias("prompt_tokens", "prompt_tokens"),
    Alias("generation_tokens", "generation_tokens"),
    Alias("prefix_cache_hits", "prompt_tokens_cached"),
    Alias("prefix_cache_queries", "prefix_cache_queries"),
    Alias("prefix_cache_hits", "prefix_cache_hits"),
    Alias("draft_tokens", "spec_decode_num_draft_tokens"),
    Alias("draft_tokens_accepted", "spec_decode_num_accepted_tokens"),
    Alias("preemptions", "num_preemptions"),
    Alias("e2e_request_latency_seconds", "request_success", (("finish_reason", "finished_reason"),), is_counted=True),
    Alias("time_to_first_token_seconds", "time_to_first_token_seconds"),
    Alias("inter_token_latency_seconds", "inter_token_latency_seconds"),
    Alias("request_time_per_output_token_seconds", "request_time_per_output_token_seconds"),
    Alias("e2e_request_latency_seconds", "e2e_request_latency_seconds"),
    Alias("request_queue_time_seconds", "request_queue_time_seconds"),
    Alias("request_prefill_time_seconds", "request_prefill_time_seconds"),
    Alias("request_decode_time_seconds", "request_decode_time_seconds"),
    Alias("request_prompt_tokens", "request_prompt_tokens"),
    Alias("request_generation_tokens", "request_generation_tokens"),
    Alias("request_generation_tokens", "request_max_num_generation_tokens"),
    Alias("step_tokens", "iteration_tokens_total"),
)


@dataclass
class _Series:
    value: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)


class VllmNames(Collector):
    """Reads the families of `registry`, of which it must not be a part."""

    def __init__(self, registry: CollectorRegistry, model: str, stats: Callable[[], EngineStats | None]) -> None:
        self._registry = registry
        self._own = {"model_name": model, "engine": "0"}
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        families = {family.name: family for family in self._registry.collect()}
        for alias in ALIASES:
            family = families.get(f"gemmule_{alias.ours}")
            if family is not None:
                yield self._renamed(family, alias)
        yield self._http(families)
        stats = self._stats()
        if stats is not None:
            yield self._cache_config(families, stats)
            yield self._waiting(stats)

    def _renamed(self, family: Metric, alias: Alias) -> Metric:
        made = Metric(f"vllm:{alias.theirs}", family.documentation, "counter" if alias.is_counted else family.type)
        sums: dict[tuple[str, tuple[str, ...]], _Series] = {}
        for sample in family.samples:
            suffix = sample.name.removeprefix(family.name)
            if suffix == "_created" or (alias.is_counted and suffix != "_count"):
                continue
            labels = self._own | {theirs: sample.labels[ours] for ours, theirs in alias.labels}
            if "le" in sample.labels:
                labels["le"] = sample.labels["le"]
            name = f"{made.name}{'_total' if alias.is_counted else suffix}"
            series = sums.setdefault((name, tuple(labels.values())), _Series(labels=labels))
            series.value += sample.value
        made.samples = [Sample(name, series.labels, series.value) for (name, _), series in sums.items()]
        return made

    def _http(self, families: dict[str, Metric]) -> Metric:
        """As the instrumentation that vLLM uses has it: statuses by their first digit."""
        made = CounterMetricFamily("http_requests", "Requests by route and status.", labels=("handler", "status"))
        sums: dict[tuple[str, str], float] = {}
        family = families.get("gemmule_http_requests")
        for sample in family.samples if family else ():
            if sample.name.endswith("_total"):
                key = sample.labels["endpoint"], f"{sample.labels['status'][:1]}xx"
                sums[key] = sums.get(key, 0.0) + sample.value
        for labels, value in sums.items():
            made.add_metric(labels, value)
        return made

    def _waiting(self, stats: EngineStats) -> Metric:
        labels = (*self._own, "reason")
        made = GaugeMetricFamily("vllm:num_requests_waiting_by_reason", "Requests that wait.", labels=labels)
        # Nobody is held back by anything but a lack of room.
        for reason, value in (("capacity", stats.num_queued), ("deferred", 0)):
            made.add_metric((*self._own.values(), reason), value)
        return made

    def _cache_config(self, families: dict[str, Metric], stats: EngineStats) -> Metric:
        block = families.get(BLOCK_TOKENS)
        labels = {
            **self._own,
            "block_size": str(int(block.samples[0].value)) if block else "",
            "num_gpu_blocks": str(stats.num_blocks),
        }
        made = GaugeMetricFamily("vllm:cache_config_info", "The KV cache.", labels=tuple(labels))
        made.add_metric(tuple(labels.values()), 1)
        return made
