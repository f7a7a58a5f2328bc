"""What the engine tells arrives in the series that dashboards read."""

import pytest
from prometheus_client import CollectorRegistry

from service.engine.block_tables import PrefixStats
from service.engine.client import EngineStats
from service.engine.drafter import DraftStats
from service.engine.observer import FirstToken, RequestTimings, StepTimings
from service.engine.plan import Phase
from service.engine.request import DrafterKind, FinishReason
from service.metrics.engine_metrics import EngineCollector, EngineMetrics


def step(**changes: object) -> StepTimings:
    values: dict[str, object] = {
        "phase": Phase.MIXED,
        "num_tokens": 20,
        "num_sequences": 3,
        "num_preempted": 1,
        "begun_s": 5.0,
        "plan_s": 0.001,
        "run_s": 0.02,
        "commit_s": 0.003,
        "first_tokens": (FirstToken(queue_s=0.05, prefill_s=0.2),),
        "token_gaps_s": (0.012, 0.2),
    }
    return StepTimings(**{**values, **changes})  # type: ignore[arg-type]


def test_a_step_counts_its_tokens_times_and_parts() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.on_step(step())
    value = registry.get_sample_value
    assert value("gemmule_generation_tokens_total") == 3
    assert value("gemmule_preemptions_total") == 1
    assert value("gemmule_time_to_first_token_seconds_sum") == 0.25
    assert value("gemmule_time_to_first_token_seconds_bucket", {"le": "0.2"}) == 0
    assert value("gemmule_time_to_first_token_seconds_bucket", {"le": "0.25"}) == 1
    assert value("gemmule_request_queue_time_seconds_sum") == 0.05
    assert value("gemmule_inter_token_latency_seconds_count") == 2
    assert value("gemmule_inter_token_latency_seconds_bucket", {"le": "0.0125"}) == 1
    assert value("gemmule_step_duration_seconds_count", {"phase": "mixed"}) == 1
    assert value("gemmule_step_duration_seconds_count", {"phase": "decode"}) == 0
    assert value("gemmule_step_tokens_sum", {"phase": "mixed"}) == 20
    assert value("gemmule_step_sequences_sum", {"phase": "mixed"}) == 3
    assert value("gemmule_request_prefill_time_seconds_sum") == 0.2
    assert (metrics.plan_s, metrics.run_s, metrics.commit_s) == (0.001, 0.02, 0.003)
    assert value("gemmule_step_failures_total") == 0


def test_a_failed_step_is_counted() -> None:
    registry = CollectorRegistry()
    EngineMetrics(registry).on_step(step(error=RuntimeError("no"), first_tokens=(), token_gaps_s=()))
    assert registry.get_sample_value("gemmule_step_failures_total") == 1
    assert registry.get_sample_value("gemmule_generation_tokens_total") == 0


def test_a_finished_request() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.on_finish(
        RequestTimings(
            id="a",
            finish_reason=FinishReason.STOP,
            num_prompt_tokens=12,
            num_output_tokens=3,
            num_preemptions=0,
            first_token=FirstToken(0.1, 0.2),
            arrival_s=4.0,
            total_s=0.9,
        )
    )
    value = registry.get_sample_value
    assert value("gemmule_prompt_tokens_total") == 12
    assert value("gemmule_e2e_request_latency_seconds_sum", {"finish_reason": "stop"}) == 0.9
    assert value("gemmule_e2e_request_latency_seconds_count", {"finish_reason": "abort"}) == 0
    assert value("gemmule_request_prompt_tokens_sum") == 12
    assert value("gemmule_request_generation_tokens_sum") == 3
    assert value("gemmule_request_decode_time_seconds_sum") == pytest.approx(0.6)
    assert value("gemmule_request_time_per_output_token_seconds_sum") == pytest.approx(0.3)


def test_gauges_are_read_at_each_scrape_and_absent_before_there_is_an_engine() -> None:
    registry = CollectorRegistry()
    stats: list[EngineStats] = []
    registry.register(EngineCollector(lambda: stats[-1] if stats else None))
    assert registry.get_sample_value("gemmule_requests_running") is None
    for running in (2, 5):
        stats.append(
            EngineStats(
                num_queued=1,
                num_running=running,
                num_used_blocks=7,
                num_blocks=64,
                num_cached_blocks=3,
                prefixes=PrefixStats(100, 64),
                heartbeat_age_s=0.5,
                is_alive=True,
                idle_s=3.0,
                drafts={DrafterKind.DRAFT_MODEL: DraftStats(9, 6)},
                num_used_draft_blocks=2,
                num_draft_blocks=32 if running == 5 else 0,
                num_forced_tokens=11,
            )
        )
        assert registry.get_sample_value("gemmule_requests_running") == running
    assert registry.get_sample_value("gemmule_requests_waiting") == 1
    assert registry.get_sample_value("gemmule_kv_blocks_used") == 7
    assert registry.get_sample_value("gemmule_kv_blocks_capacity") == 64
    assert registry.get_sample_value("gemmule_kv_blocks_cached") == 3
    assert registry.get_sample_value("gemmule_prefix_cache_queries_total") == 100
    assert registry.get_sample_value("gemmule_prefix_cache_hits_total") == 64
    assert registry.get_sample_value("gemmule_forced_tokens_total") == 11
    assert registry.get_sample_value("gemmule_kv_usage_ratio") == 7 / 64
    for kind, guessed, right in (("draft_model", 9, 6), ("prompt_lookup", 0, 0)):
        assert registry.get_sample_value("gemmule_draft_tokens_total", {"drafter": kind}) == guessed
        assert registry.get_sample_value("gemmule_draft_tokens_accepted_total", {"drafter": kind}) == right
    assert registry.get_sample_value("gemmule_draft_tokens_total", {"drafter": "none"}) is None
    assert registry.get_sample_value("gemmule_draft_kv_blocks_used") == 2
    assert registry.get_sample_value("gemmule_draft_kv_blocks_capacity") == 32
    stats.append(stats[0])
    assert registry.get_sample_value("gemmule_draft_kv_blocks_capacity") is None, "without a draft model"
    assert registry.get_sample_value("gemmule_engine_alive") == 1
