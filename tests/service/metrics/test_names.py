"""Other people's names: vLLM's, when asked for, and OpenTelemetry's, with the attributes that it requires."""

from prometheus_client import CollectorRegistry

from service.engine.block_tables import PrefixStats
from service.engine.client import EngineStats
from service.engine.observer import FirstToken, RequestTimings
from service.engine.request import FinishReason
from service.errors import OutputStuck, QueueFull, SettingsError, StepFailed
from service.metrics.engine_metrics import EngineCollector, EngineMetrics
from service.metrics.gen_ai_metrics import GenAiMetrics
from service.metrics.http_metrics import HttpMetrics
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


def ended(
    reason: FinishReason = FinishReason.STOP, operation: Operation = Operation.CHAT, error_code: str | None = None
) -> RequestTimings:
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
        error_code=error_code,
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
    assert value("prompt_tokens_cached_total") == 64
    assert value("num_requests_waiting_by_reason", reason="capacity") == 1
    assert value("num_requests_waiting_by_reason", reason="deferred") == 0
    assert value("request_max_num_generation_tokens_sum") == 9
    found = {family.name for family in theirs.collect()}
    assert {f"vllm:{alias.theirs}" for alias in ALIASES} <= found


def test_http_requests_by_the_first_digit_of_their_status() -> None:
    registry, theirs = CollectorRegistry(), CollectorRegistry()
    http = HttpMetrics(registry)
    for status in ("200", "200", "404", "422", "503"):
        http.requests.labels("/v1/completions", status).inc()
    theirs.register(VllmNames(registry, "smol", lambda: None))
    for status, number in (("2xx", 2), ("4xx", 2), ("5xx", 1)):
        labels = {"handler": "/v1/completions", "status": status}
        assert theirs.get_sample_value("http_requests_total", labels) == number


COMMON = frozenset({"gen_ai.operation.name", "gen_ai.provider.name"})
ALLOWED = COMMON | {"gen_ai.request.model", "gen_ai.response.model", "server.address", "server.port", "error.type"}
CONVENTIONS = {
    "gen_ai.server.request.duration": ("seconds", COMMON),
    "gen_ai.server.time_to_first_token": ("seconds", COMMON),
    "gen_ai.server.time_per_output_token": ("seconds", COMMON),
    "gen_ai.client.token.usage": ("", COMMON | {"gen_ai.token.type"}),
}
"""Of OpenTelemetry's conventions for generative AI (model/gen-ai/metrics.yaml, November 2026): unit, required
attributes. A unit of {token} has no suffix in Prometheus."""


def test_gen_ai_metrics_are_those_of_the_conventions() -> None:
    registry = CollectorRegistry()
    metrics = GenAiMetrics(registry, "smol")
    for reason in (FinishReason.STOP, FinishReason.ERROR):
        for operation in Operation:
            metrics.on_finish(ended(reason, operation))
    spelled = {
        "_".join(filter(None, (name.replace(".", "_"), unit))): required
        for name, (unit, required) in CONVENTIONS.items()
    }
    families = {family.name: family for family in registry.collect()}
    assert set(families) == set(spelled)
    for name, family in families.items():
        assert family.type == "histogram", "the instrument of all of them"
        required = {attribute.replace(".", "_") for attribute in spelled[name]}
        allowed = {attribute.replace(".", "_") for attribute in ALLOWED | spelled[name]} | {"le"}
        assert family.samples
        for sample in family.samples:
            given = {label for label, value in sample.labels.items() if value}  # an empty label is none
            assert required <= given <= allowed, sample
    durations = families["gen_ai_server_request_duration_seconds"].samples
    assert {sample.labels["error_type"] for sample in durations} == {"", "step_failed"}, (
        "set where it ended in an error"
    )


def test_gen_ai_metrics_have_the_attributes_that_are_required() -> None:
    registry = CollectorRegistry()
    metrics = GenAiMetrics(registry, "smol")
    metrics.on_finish(ended())
    metrics.on_finish(ended(FinishReason.ERROR, Operation.TEXT_COMPLETION))
    metrics.on_finish(ended(FinishReason.ERROR, Operation.TEXT_COMPLETION, OutputStuck.code))
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
    assert value("gen_ai_server_request_duration_seconds_count", {**failed, "error_type": "output_stuck"}) == 1
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
