"""The engine's observations under OpenTelemetry's names for generative AI, as Prometheus spells them.

https://github.com/open-telemetry/semantic-conventions-genai (development): dots become underscores, units follow.
"""

from prometheus_client import CollectorRegistry

from service.engine.observer import RequestTimings, StepTimings
from service.engine.request import FinishReason
from service.metrics import buckets
from service.metrics.histogram import Histogram
from service.request_context import Operation, RequestContext

PROVIDER = "gemmule"
LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model")
ERRORS = {FinishReason.ERROR: "step_failed", FinishReason.ABORT: "cancelled"}


class GenAiMetrics:
    """An EngineObserver for one model."""

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        self._model = model

        def histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"gen_ai_{name}", text, (*LABELS, *labels), bounds=bounds, registry=registry)

        self._duration = histogram(
            "server_request_duration_seconds",
            "From a request's arrival to its end.",
            buckets.GEN_AI_DURATION_S,
            "error_type",  # empty without one
        )
        self._first_token = histogram(
            "server_time_to_first_token_seconds",
            "From a request's arrival to its first token, of requests that succeed.",
            buckets.GEN_AI_FIRST_TOKEN_S,
        )
        self._per_token = histogram(
            "server_time_per_output_token_seconds",
            "Decode time by tokens, the first left out, of requests that succeed.",
            buckets.GEN_AI_PER_TOKEN_S,
        )
        self._tokens = histogram(
            "client_token_usage", "Tokens of a request, input or output.", buckets.GEN_AI_TOKENS, "gen_ai_token_type"
        )
        for operation in Operation:
            self._duration.labels(*self._labels(RequestContext(operation=operation)), "")

    def on_step(self, step: StepTimings) -> None:
        pass

    def on_finish(self, request: RequestTimings) -> None:
        labels = self._labels(request.context)
        error = request.error_code or ERRORS.get(request.finish_reason, "")
        self._duration.labels(*labels, error).observe(request.total_s)
        self._tokens.labels(*labels, "input").observe(request.num_prompt_tokens)
        self._tokens.labels(*labels, "output").observe(request.num_output_tokens)
        if error:
            return
        if request.first_token is not None:
            self._first_token.labels(*labels).observe(request.first_token.ttft_s)
        if request.time_per_output_token_s is not None:
            self._per_token.labels(*labels).observe(request.time_per_output_token_s)

    def _labels(self, context: RequestContext) -> tuple[str, ...]:
        # One model is served, whatever a request calls it: else a client could make series.
        return context.operation.value, PROVIDER, self._model, self._model
