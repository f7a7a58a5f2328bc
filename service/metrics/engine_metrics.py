"""What the engine tells, as Prometheus series. Knows no HTTP and no kernel."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engine.client import EngineStats
from service.engine.observer import RequestTimings, StepTimings
from service.engine.plan import Phase
from service.engine.request import FinishReason
from service.metrics import buckets


class EngineMetrics:
    """An EngineObserver. Series with few known label values exist from the start, so that a rate() sees their first."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._time_to_first_token = Histogram(
            "gemmule_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            buckets=buckets.TIME_TO_FIRST_TOKEN_S,
            registry=registry,
        )
        self._inter_token = Histogram(
            "gemmule_inter_token_latency_seconds",
            "Between two tokens of a request.",
            buckets=buckets.INTER_TOKEN_S,
            registry=registry,
        )
        self._queue_time = Histogram(
            "gemmule_request_queue_time_seconds",
            "From a request's arrival to the first step that computes any of it.",
            buckets=buckets.QUEUE_S,
            registry=registry,
        )
        self._request_duration = Histogram(
            "gemmule_e2e_request_latency_seconds",
            "From a request's arrival to its end.",
            ["finish_reason"],
            buckets=buckets.REQUEST_S,
            registry=registry,
        )
        self._prompt_tokens = Counter(
            "gemmule_prompt_tokens", "Prompt tokens of the requests that have ended.", registry=registry
        )
        self._generation_tokens = Counter("gemmule_generation_tokens", "Tokens generated.", registry=registry)
        self._preemptions = Counter(
            "gemmule_preemptions", "Times a sequence gave its KV blocks back and is computed again.", registry=registry
        )
        step_duration = Histogram(
            "gemmule_step_duration_seconds",
            "One step of the engine: plan, run and commit.",
            ["phase"],
            buckets=buckets.STEP_S,
            registry=registry,
        )
        step_tokens = Histogram(
            "gemmule_step_tokens", "Tokens in one step.", ["phase"], buckets=buckets.STEP_TOKENS, registry=registry
        )
        step_parts = Counter(
            "gemmule_step_part_seconds",
            "The engine thread's time within steps.",
            ["part"],
            registry=registry,
        )
        self._step_failures = Counter(
            "gemmule_step_failures", "Steps that failed, and with them their requests.", registry=registry
        )
        self._step_duration = {phase: step_duration.labels(phase.name.lower()) for phase in Phase}
        self._step_tokens = {phase: step_tokens.labels(phase.name.lower()) for phase in Phase}
        self._plan_s, self._run_s, self._commit_s = (step_parts.labels(part) for part in ("plan", "run", "commit"))
        for reason in FinishReason:
            self._request_duration.labels(reason.value)

    def on_step(self, step: StepTimings) -> None:
        if step.error is not None:
            self._step_failures.inc()
        if step.num_preempted:
            self._preemptions.inc(step.num_preempted)
        self._plan_s.inc(step.plan_s)
        self._run_s.inc(step.run_s)
        self._commit_s.inc(step.commit_s)
        self._step_duration[step.phase].observe(step.plan_s + step.run_s + step.commit_s)
        self._step_tokens[step.phase].observe(step.num_tokens)
        self._generation_tokens.inc(len(step.first_tokens) + len(step.token_gaps_s))
        for first in step.first_tokens:
            self._time_to_first_token.observe(first.ttft_s)
            self._queue_time.observe(first.queue_s)
        for gap_s in step.token_gaps_s:
            self._inter_token.observe(gap_s)

    def on_finish(self, request: RequestTimings) -> None:
        self._request_duration.labels(request.finish_reason.value).observe(request.total_s)
        self._prompt_tokens.inc(request.num_prompt_tokens)


class EngineCollector(Collector):
    """Gauges and counters read from the engine at each scrape; none before there is an engine."""

    def __init__(self, stats: Callable[[], EngineStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        stats = self._stats()
        if stats is None:
            return
        for name, text, value in (
            ("gemmule_requests_running", "Requests that take part in steps.", stats.num_running),
            ("gemmule_requests_waiting", "Requests that wait for their first step.", stats.num_queued),
            ("gemmule_kv_blocks_used", "KV cache blocks held by sequences.", stats.num_used_blocks),
            ("gemmule_kv_blocks_cached", "Free KV cache blocks that can be found again.", stats.num_cached_blocks),
            ("gemmule_kv_blocks_capacity", "KV cache blocks in all.", stats.num_blocks),
            ("gemmule_engine_heartbeat_age_seconds", "Since the engine thread last came round.", stats.heartbeat_age_s),
            ("gemmule_engine_alive", "Whether the engine thread runs.", stats.is_alive),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
        for name, text, value in (
            (
                "gemmule_prefix_cache_queries",
                "Prompt tokens looked up in the KV cache.",
                stats.prefixes.num_queried_tokens,
            ),
            ("gemmule_prefix_cache_hits", "Prompt tokens found in the KV cache.", stats.prefixes.num_hit_tokens),
        ):
            yield CounterMetricFamily(name, text, value=float(value))
