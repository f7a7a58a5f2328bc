"""The HTTP face as an ASGI application. Knows no socket and no engine."""

from collections.abc import Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.access import Access
from service.generate.serving import Serving
from service.http import (
    chat_routes,
    completion_routes,
    kserve_routes,
    page_routes,
    status_routes,
    token_routes,
    trace_routes,
)
from service.http.error_response import install_error_handlers
from service.http.guard import Guard
from service.http.openapi import describe_bodies
from service.http.trace_requests import TraceRequests
from service.metrics.http_metrics import CountRequests
from service.metrics.service_metrics import ServiceMetrics
from service.tracing.request_traces import RequestTraces
from service.tracing.step_traces import StepTraces

ROUTES = (completion_routes, chat_routes, token_routes, kserve_routes, page_routes, status_routes, trace_routes)
SSE_KEEP_ALIVE_S = 15.0
"""Silence after which a stream says that it is alive; load balancers wait a minute or so."""


BODY_TIMEOUT_S = 30.0
"""What a request's body may take to arrive."""


def create_app(
    serving: Serving,
    metrics: ServiceMetrics,
    step_traces: StepTraces | None = None,
    request_traces: RequestTraces | None = None,
    *,
    max_body: int,
    access: Access | None = None,
    allowed_origins: Sequence[str] = (),
    sse_keep_alive_s: float = SSE_KEEP_ALIVE_S,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> FastAPI:
    """Without `access` everybody may call; `allowed_origins`: of pages that may call from a browser, or *."""
    app = FastAPI(
        title="Gemmule",
        version=version("gemmule"),
        summary="LLM completion microservice, OpenAI-compatible.",
        docs_url=None,  # both pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.serving = serving
    app.state.metrics = metrics
    app.state.step_traces = step_traces or StepTraces()
    app.state.max_body = max_body
    app.state.sse_keep_alive_s = sse_keep_alive_s
    app.state.body_timeout_s = body_timeout_s
    app.add_middleware(Guard, access=access or Access())
    if allowed_origins:
        # Before the guard: a browser that asks whether it may has no key yet.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "content-type", "x-request-id", "traceparent"),
            expose_headers=("x-request-id", "retry-after"),
        )
    app.add_middleware(TraceRequests, traces=request_traces or RequestTraces())
    app.add_middleware(CountRequests, metrics=metrics.http)
    install_error_handlers(app)
    for routes in ROUTES:
        app.include_router(routes.router)
    describe_bodies(app)
    return app
