"""Other people's names: vLLM's, when asked for, and OpenTelemetry's, with the attributes that it requires."""

from prometheus_client import CollectorRegistry

from service.engine.block_tables import PrefixStats
from service.engine.client import EngineStats
from service.engine.observer import FirstToken, RequestTimings
from service.engine.request import FinishReason
from service.errors import QueueFull, SettingsError, StepFailed
from service.metrics.engine_metrics import EngineCollector, EngineMetrics
from service.metrics.gen_ai_metrics import GenAiMetrics
from service.metrics.rejections import Rejections
from service.metrics.vllm_names import ALIASES, VllmNames
from service.request_context import Operation, RequestContext
from tests.service.metrics.test_engine_metrics import step

STATS = EngineStats(
    num_queued=1,
    num_running=2,
    num_used_blocks=16,
    num_blocks=64,
    num_cached_blocks=3,
    prefixes=PrefixStats(100, 64),
    heartbeat_age_s=0.0,
    is_alive=True,
    idle_s=0.0,
)


def ended(reason: FinishReason = FinishReason.STOP, operation: Operation = Operation.CHAT) -> RequestTimings:
    return RequestTimings(
        id="a",
        finish_reason=reason,
        num_prompt_tokens=12,
        num_output_tokens=3,
        num_preemptions=0,
        first_token=FirstToken(0.1, 0.2),
        arrival_s=4.0,
        total_s=0.9,
        context=RequestContext(operation=operation),
    )


def test_vllm_names_hold_our_values() -> None:
    registry, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = EngineMetrics(registry)
    registry.register(EngineCollector(lambda: STATS))
    theirs.register(VllmNames(registry, "smol", lambda: STATS))
    metrics.on_step(step())
    for reason in (FinishReason.STOP, FinishReason.LENGTH, FinishReason.STOP):
        metrics.on_finish(ended(reason))

    def value(name: str, **labels: str) -> float | None:
        return theirs.get_sample_value(f"vllm:{name}", {"model_name": "smol", "engine": "0", **labels})

    assert value("num_requests_running") == 2
    assert value("num_requests_waiting") == 1
    assert value("kv_cache_usage_perc") == 0.25
    assert value("prompt_tokens_total") == 36
    assert (value("prefix_cache_queries_total"), value("prefix_cache_hits_total")) == (100, 64)
    assert value("request_success_total", finished_reason="stop") == 2
    assert value("request_success_total", finished_reason="length") == 1
    assert value("e2e_request_latency_seconds_count") == 3  # over all reasons
    assert value("e2e_request_latency_seconds_bucket", le="+Inf") == 3
    assert value("e2e_request_latency_seconds_bucket", le="0.75") == 0
    assert value("iteration_tokens_total_sum") == 20  # over all phases
    assert value("time_to_first_token_seconds_sum") == 0.25
    assert value("cache_config_info", block_size="", num_gpu_blocks="64") == 1
    found = {family.name for family in theirs.collect()}
    assert {f"vllm:{alias.theirs}" for alias in ALIASES} <= found


def test_gen_ai_metrics_have_the_attributes_that_are_required() -> None:
    registry = CollectorRegistry()
    metrics = GenAiMetrics(registry, "smol")
    metrics.on_finish(ended())
    metrics.on_finish(ended(FinishReason.ERROR, Operation.TEXT_COMPLETION))
    for family in registry.collect():
        for sample in family.samples:
            assert sample.labels["gen_ai_operation_name"] in ("chat", "text_completion")
            assert sample.labels["gen_ai_provider_name"] == "gemmule"
            assert sample.labels["gen_ai_request_model"] == "smol"
            if family.name == "gen_ai_client_token_usage":
                assert sample.labels["gen_ai_token_type"] in ("input", "output")
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "gemmule",
        "gen_ai_request_model": "smol",
        "gen_ai_response_model": "smol",
    }
    value = registry.get_sample_value
    assert value("gen_ai_server_request_duration_seconds_sum", {**labels, "error_type": ""}) == 0.9
    failed = {**labels, "gen_ai_operation_name": "text_completion", "error_type": "step_failed"}
    assert value("gen_ai_server_request_duration_seconds_count", failed) == 1
    assert value("gen_ai_server_time_to_first_token_seconds_count", labels) == 1
    assert value("gen_ai_client_token_usage_sum", {**labels, "gen_ai_token_type": "output"}) == 3


def test_refusals_by_reason_and_no_others() -> None:
    registry = CollectorRegistry()
    rejections = Rejections(registry)
    rejections.count(QueueFull("256 wait"))
    rejections.count(StepFailed("no refusal: it was computed"))
    value = registry.get_sample_value
    assert value("gemmule_rejections_total", {"reason": "queue_full"}) == 1
    assert value("gemmule_rejections_total", {"reason": "context_length_exceeded"}) == 0  # there from the start
    for error in (StepFailed, SettingsError):
        assert value("gemmule_rejections_total", {"reason": error.code}) is None
