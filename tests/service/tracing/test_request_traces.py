"""Spans of a request over OTLP, in the caller's trace, from both clocks; the log's line; no prompt in either."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.engine.observer import FirstToken, RequestTimings
from service.engine.request import FinishReason
from service.request_context import Operation, RequestContext
from service.tracing.request_log import RequestLog
from service.tracing.request_traces import RequestTraces
from service.tracing.w3c import TraceParent, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FIRST = FirstToken(0.1, 0.4)
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (PARENT, TraceParent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(int(TRACE, 16), int(SPAN, 16), False)),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", TraceParent(int(TRACE, 16), int(SPAN, 16), True)),
        (None, None),
        ("", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
    ],
)
def test_traceparent(header: str | None, expected: TraceParent | None) -> None:
    assert parse_traceparent(header) == expected


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Iterator[RequestTraces]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield RequestTraces(provider.get_tracer("test"), provider.shutdown, "smol")
    provider.shutdown()


def ended(context: RequestContext, first: FirstToken | None = FIRST) -> RequestTimings:
    return RequestTimings(
        id="cmpl-1-0",
        finish_reason=FinishReason.LENGTH,
        num_prompt_tokens=80,
        num_output_tokens=5,
        num_preemptions=0,
        first_token=first,
        arrival_s=100.0,
        total_s=0.9,
        prefill_chunks=((100.1, 100.3, 64), (100.3, 100.5, 16)),
        context=context,
    )


def milliseconds(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e6)


def test_spans_are_in_the_caller_s_trace_and_follow_each_other(
    traces: RequestTraces, exporter: InMemorySpanExporter
) -> None:
    trace = traces.begin("POST /v1/chat/completions", Operation.CHAT, PARENT, "mine")
    assert trace.context.request_id == "mine"
    traces.on_finish(ended(trace.context))
    trace.first_byte()
    trace.end(200, False)
    spans = exporter.get_finished_spans()
    by_name = {span.name: span for span in spans}
    face = by_name["POST /v1/chat/completions"]
    assert all(f"{span.context.trace_id:032x}" == TRACE for span in spans)
    assert face.parent is not None
    assert f"{face.parent.span_id:016x}" == SPAN
    for name in ("queue", "prefill", "decode", "stream"):
        parent = by_name[name].parent
        assert parent is not None
        assert parent.span_id == face.context.span_id
    chunks = [span for span in spans if span.name == "prefill chunk"]
    for chunk in chunks:
        assert chunk.parent is not None
        assert chunk.parent.span_id == by_name["prefill"].context.span_id
    assert [(milliseconds(chunk), (chunk.attributes or {})["gemmule.tokens"]) for chunk in chunks] == [
        (200, 64),
        (200, 16),
    ]
    assert [milliseconds(by_name[name]) for name in ("queue", "prefill", "decode")] == [100, 400, 400]
    assert by_name["queue"].end_time == by_name["prefill"].start_time
    attributes: Any = face.attributes
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.provider.name"] == "gemmule"
    assert attributes["gen_ai.request.model"] == "smol"
    assert (by_name["decode"].attributes or {})["gen_ai.usage.output_tokens"] == 5


def test_who_does_not_want_to_be_sampled_is_not(traces: RequestTraces, exporter: InMemorySpanExporter) -> None:
    trace = traces.begin("POST /v1/completions", Operation.TEXT_COMPLETION, f"00-{TRACE}-{SPAN}-00", None)
    assert not trace.context.is_sampled
    traces.on_finish(ended(trace.context))
    trace.end(200, False)
    assert exporter.get_finished_spans() == ()


def test_a_request_that_never_ran_was_in_the_queue(traces: RequestTraces, exporter: InMemorySpanExporter) -> None:
    trace = traces.begin("POST /v1/completions", Operation.TEXT_COMPLETION, None, None)
    traces.on_finish(ended(trace.context, first=None))
    trace.end(503, True)
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["queue", "POST /v1/completions"]
    assert (spans[1].attributes or {})["error.type"] == "503"


@pytest.mark.parametrize("request_id", [None, "", "x" * 129, "two\nlines"])
def test_without_an_exporter_ids_are_still_passed_on(request_id: str | None) -> None:
    traces = RequestTraces()
    trace = traces.begin("POST /v1/completions", Operation.CHAT, PARENT, request_id)
    assert len(trace.context.request_id) == 16
    assert trace.context.trace_hex == TRACE
    traces.on_finish(ended(trace.context))
    trace.end(200, False)


def test_the_log_has_one_line_with_times_and_ids() -> None:
    context = RequestContext(request_id="mine", operation=Operation.CHAT, trace_id=int(TRACE, 16))
    with structlog.testing.capture_logs() as lines:
        RequestLog().on_finish(ended(context))
    assert lines == [
        {
            "event": "request",
            "log_level": "info",
            "request_id": "mine",
            "id": "cmpl-1-0",
            "operation": "chat",
            "finish_reason": "length",
            "prompt_tokens": 80,
            "output_tokens": 5,
            "preemptions": 0,
            "queue_ms": 100.0,
            "prefill_ms": 400.0,
            "ttft_ms": 500.0,
            "decode_ms": 400.0,
            "per_token_ms": 100.0,
            "total_ms": 900.0,
            "trace_id": TRACE,
        }
    ]
    assert logging.getLogger("gemmule.request").level == logging.NOTSET
