"""What the engine tells, as Prometheus series. Knows no HTTP and no kernel."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engine.client import EngineStats
from service.engine.drafter import NO_DRAFTS
from service.engine.observer import RequestTimings, StepTimings
from service.engine.plan import Phase
from service.engine.request import DrafterKind, FinishReason
from service.metrics import buckets
from service.metrics.histogram import Histogram
from service.request_context import RequestContext


class EngineMetrics:
    """An EngineObserver. Series with few known label values exist from the start, so that a rate() sees their first."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"gemmule_{name}", text, labels, bounds=bounds, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"gemmule_{name}", text, labels, registry=registry)

        self._time_to_first_token = histogram(
            "time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            buckets.TIME_TO_FIRST_TOKEN_S,
        )
        self._inter_token = histogram(
            "inter_token_latency_seconds", "Between two tokens of a request.", buckets.INTER_TOKEN_S
        )
        self._time_per_output_token = histogram(
            "request_time_per_output_token_seconds",
            "Of a request that has ended: its decode time by its tokens, the first left out.",
            buckets.TIME_PER_OUTPUT_TOKEN_S,
        )
        self._queue_time = histogram(
            "request_queue_time_seconds",
            "From a request's arrival to the first step that computes any of it.",
            buckets.QUEUE_S,
        )
        self._prefill_time = histogram(
            "request_prefill_time_seconds",
            "From the first step that computes any of a request to its first token.",
            buckets.PREFILL_S,
        )
        self._decode_time = histogram(
            "request_decode_time_seconds", "From a request's first token to its last.", buckets.DECODE_S
        )
        self._request_duration = histogram(
            "e2e_request_latency_seconds", "From a request's arrival to its end.", buckets.REQUEST_S, "finish_reason"
        )
        self._request_prompt_tokens = histogram(
            "request_prompt_tokens", "Prompt tokens of a request that has ended.", buckets.REQUEST_TOKENS
        )
        self._request_generation_tokens = histogram(
            "request_generation_tokens", "Tokens generated for a request that has ended.", buckets.REQUEST_TOKENS
        )
        self._prompt_tokens = counter("prompt_tokens", "Prompt tokens of the requests that have ended.")
        self._generation_tokens = counter("generation_tokens", "Tokens generated.")
        self._preemptions = counter("preemptions", "Times a sequence gave its KV blocks back and is computed again.")
        step_duration = histogram(
            "step_duration_seconds", "One step of the engine: plan, run and commit.", buckets.STEP_S, "phase"
        )
        step_tokens = histogram("step_tokens", "Tokens in one step.", buckets.STEP_TOKENS, "phase")
        step_sequences = histogram(
            "step_sequences", "Sequences in one step: the batch size.", buckets.STEP_SEQUENCES, "phase"
        )
        self._step_failures = counter("step_failures", "Steps that failed, and with them their requests.")
        self._step_duration = {phase: step_duration.labels(phase.name.lower()) for phase in Phase}
        self._step_tokens = {phase: step_tokens.labels(phase.name.lower()) for phase in Phase}
        self._step_sequences = {phase: step_sequences.labels(phase.name.lower()) for phase in Phase}
        for reason in FinishReason:
            self._request_duration.labels(reason.value)
        self.plan_s = self.run_s = self.commit_s = 0.0
        """The engine thread's time in steps so far."""

    def on_step(self, step: StepTimings) -> None:
        if step.error is not None:
            self._step_failures.inc()
        if step.num_preempted:
            self._preemptions.inc(step.num_preempted)
        self.plan_s += step.plan_s
        self.run_s += step.run_s
        self.commit_s += step.commit_s
        self._step_duration[step.phase].observe(step.plan_s + step.run_s + step.commit_s)
        self._step_tokens[step.phase].observe(step.num_tokens)
        self._step_sequences[step.phase].observe(step.num_sequences)
        self._generation_tokens.inc(len(step.first_tokens) + len(step.token_gaps_s))
        for first in step.first_tokens:
            self._time_to_first_token.observe(first.ttft_s, exemplar_of(first.context))
            self._queue_time.observe(first.queue_s)
            self._prefill_time.observe(first.prefill_s)
        for gap_s in step.token_gaps_s:
            self._inter_token.observe(gap_s)

    def on_finish(self, request: RequestTimings) -> None:
        duration = self._request_duration.labels(request.finish_reason.value)
        duration.observe(request.total_s, exemplar_of(request.context))
        self._prompt_tokens.inc(request.num_prompt_tokens)
        self._request_prompt_tokens.observe(request.num_prompt_tokens)
        self._request_generation_tokens.observe(request.num_output_tokens)
        if request.decode_s is not None:
            self._decode_time.observe(request.decode_s)
        if request.time_per_output_token_s is not None:
            self._time_per_output_token.observe(request.time_per_output_token_s)


def exemplar_of(context: RequestContext) -> dict[str, str] | None:
    """Leads from a bucket to a trace, if somebody collects traces."""
    return {"trace_id": context.trace_hex} if context.is_sampled and context.trace_id else None


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
            ("gemmule_waiting_prompt_tokens", "Of requests without a first token.", stats.num_waiting_tokens),
            ("gemmule_kv_blocks_used", "KV cache blocks held by sequences.", stats.num_used_blocks),
            ("gemmule_kv_blocks_cached", "Free KV cache blocks that can be found again.", stats.num_cached_blocks),
            ("gemmule_kv_blocks_capacity", "KV cache blocks in all.", stats.num_blocks),
            ("gemmule_kv_usage_ratio", "Share of the KV cache held by sequences.", stats.kv_usage),
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
            (
                "gemmule_forced_tokens",
                "Tokens that an output format left no choice about: not drawn, several in a step.",
                stats.num_forced_tokens,
            ),
        ):
            yield CounterMetricFamily(name, text, value=float(value))
        yield from _draft_counters(stats)
        if stats.num_draft_blocks:
            for name, text, value in (
                ("used", "KV cache blocks that the draft model holds.", stats.num_used_draft_blocks),
                ("capacity", "KV cache blocks of the draft model in all.", stats.num_draft_blocks),
            ):
                yield GaugeMetricFamily(f"gemmule_draft_kv_blocks_{name}", text, value=float(value))


def _draft_counters(stats: EngineStats) -> Iterable[Metric]:
    """For each kind of drafter, whether it has guessed or not."""
    guessed = CounterMetricFamily("gemmule_draft_tokens", "Tokens guessed, and verified.", labels=("drafter",))
    right = CounterMetricFamily("gemmule_draft_tokens_accepted", "Guessed tokens that were right.", labels=("drafter",))
    for kind in DrafterKind:
        if kind is not DrafterKind.NONE:
            drafts = stats.drafts.get(kind, NO_DRAFTS)
            guessed.add_metric((kind.value,), drafts.num_guessed)
            right.add_metric((kind.value,), drafts.num_right)
    yield from (guessed, right)
