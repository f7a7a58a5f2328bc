"""Spans of requests, exported over OTLP when an endpoint is configured; without one, only contexts are passed on.

    POST /v1/chat/completions       the face: from the head of the request to the last byte
      queue                         from arrival to the first step
      prefill                       to the first token, with a span for each chunk
      decode                        to the last token
      stream                        from the first byte of the response to the last

OpenTelemetry's packages (the extra `otlp`) are imported only if an endpoint is configured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from secrets import token_hex
from typing import Any

from service.engine.observer import EngineObserver, RequestTimings, StepTimings
from service.errors import SettingsError
from service.request_context import Operation, RequestContext
from service.tracing.w3c import parse_traceparent

SERVICE = "gemmule"
MAX_REQUEST_ID = 128


class RequestTrace:
    """One request of a face."""

    def __init__(self, context: RequestContext, span: Any, traces: RequestTraces) -> None:
        self.context = context
        self._span = span
        self._traces = traces
        self._first_byte_ns: int | None = None

    def first_byte(self) -> None:
        if self._first_byte_ns is None:
            self._first_byte_ns = time.time_ns()

    def end(self, status: int | str, is_error: bool) -> None:
        if self._span is None:
            return
        if self._first_byte_ns is not None:
            self._traces.child(self.context, "stream", self._first_byte_ns, time.time_ns())
        self._span.set_attribute("http.response.status_code" if isinstance(status, int) else "rpc.status", status)
        if is_error:
            self._span.set_attribute("error.type", str(status))
        self._span.end()


class RequestTraces:
    """Also an EngineObserver: what the engine measured becomes the children of the face's span."""

    def __init__(self, tracer: Any = None, stop: Callable[[], None] = lambda: None, model: str = "") -> None:
        self._tracer = tracer
        self._stop = stop
        self.model = model

    def begin(self, name: str, operation: Operation, traceparent: str | None, request_id: str | None) -> RequestTrace:
        """`traceparent`, `request_id`: of the caller, if any; unusable ones are replaced."""
        own_id = request_id if request_id and len(request_id) <= MAX_REQUEST_ID and request_id.isprintable() else None
        parent = parse_traceparent(traceparent)
        context = RequestContext(
            request_id=own_id or token_hex(8),
            operation=operation,
            trace_id=parent.trace_id if parent else 0,
            span_id=parent.span_id if parent else 0,
            is_sampled=parent is not None and parent.is_sampled,
        )
        if self._tracer is None:
            return RequestTrace(context, None, self)
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(name, context=_otel(context) if parent else None, kind=SpanKind.SERVER)
        own = span.get_span_context()
        context = RequestContext(
            request_id=context.request_id,
            operation=operation,
            trace_id=own.trace_id,
            span_id=own.span_id,
            is_sampled=span.is_recording(),
        )
        span.set_attribute("gen_ai.operation.name", operation.value)
        span.set_attribute("gen_ai.provider.name", SERVICE)
        if self.model:  # of several it is not known yet
            span.set_attribute("gen_ai.request.model", self.model)
        span.set_attribute("gemmule.request_id", context.request_id)
        return RequestTrace(context, span, self)

    def child(
        self, context: RequestContext, name: str, start_ns: int, end_ns: int, parent: Any = None, **values: Any
    ) -> Any:
        """A span that has ended, of unix times; of the face's span, or of `parent`."""
        from opentelemetry.trace import set_span_in_context

        inside = _otel(context) if parent is None else set_span_in_context(parent)
        span = self._tracer.start_span(name, context=inside, start_time=start_ns, attributes=values)
        span.end(end_time=max(start_ns, end_ns))
        return span

    def on_step(self, step: StepTimings) -> None:
        pass

    def on_finish(self, request: RequestTimings) -> None:
        self.finish(request, self.model)

    def of(self, model: str) -> EngineObserver:
        """An observer of the engine that serves this one of several models."""
        return _ModelTraces(self, model)

    def finish(self, request: RequestTimings, model: str) -> None:
        context = request.context
        if self._tracer is None or not context.is_sampled:
            return
        offset_ns = time.time_ns() - round((request.arrival_s + request.total_s) * 1e9)

        def unix_ns(seconds: float) -> int:
            return round(seconds * 1e9) + offset_ns

        ended_s = request.arrival_s + request.total_s
        usage: dict[str, Any] = {
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": request.num_prompt_tokens,
            "gen_ai.usage.output_tokens": request.num_output_tokens,
            "gen_ai.response.finish_reasons": (request.finish_reason.value,),
        }
        first = request.first_token
        if first is None:
            self.child(context, "queue", unix_ns(request.arrival_s), unix_ns(ended_s), **usage)
            return
        scheduled_s, first_s = request.arrival_s + first.queue_s, request.arrival_s + first.ttft_s
        self.child(context, "queue", unix_ns(request.arrival_s), unix_ns(scheduled_s))
        prefill = self.child(context, "prefill", unix_ns(scheduled_s), unix_ns(first_s))
        for start_s, end_s, num_tokens in request.prefill_chunks:
            tokens = {"gemmule.tokens": num_tokens}
            self.child(context, "prefill chunk", unix_ns(start_s), unix_ns(end_s), prefill, **tokens)
        self.child(context, "decode", unix_ns(first_s), unix_ns(ended_s), **usage)

    def close(self) -> None:
        """Sends what is left; may take seconds."""
        self._stop()


class _ModelTraces:
    def __init__(self, traces: RequestTraces, model: str) -> None:
        self._traces, self._model = traces, model

    def on_step(self, step: StepTimings) -> None:
        pass

    def on_finish(self, request: RequestTimings) -> None:
        self._traces.finish(request, self._model)


def _otel(context: RequestContext) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return set_span_in_context(NonRecordingSpan(SpanContext(context.trace_id, context.span_id, True, flags)))


def request_traces_to(endpoint: str | None) -> RequestTraces:
    """Exports to `endpoint`, for example http://127.0.0.1:4318; nothing for None.

    Raises SettingsError without the extra `otlp`.
    """
    if endpoint is None:
        return RequestTraces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"otlp_endpoint needs the packages of the extra otlp: {error}") from error
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE, "service.version": version(SERVICE)}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))  # bounded: beyond 2,048 waiting spans it drops
    return RequestTraces(provider.get_tracer(SERVICE, version(SERVICE)), provider.shutdown)
