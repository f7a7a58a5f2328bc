"""The HTTP face as an ASGI application. Knows no socket and no engine."""

from importlib.metadata import version

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service.generate.serving import Serving
from service.http import chat_routes, completion_routes, status_routes
from service.http.error_response import install_error_handlers
from service.http.openapi import describe_bodies
from service.metrics.http_metrics import CountRequests, HttpMetrics


def create_app(serving: Serving, registry: CollectorRegistry, *, max_body: int) -> FastAPI:
    app = FastAPI(
        title="Gemmule",
        version=version("gemmule"),
        summary="LLM completion microservice, OpenAI-compatible.",
        docs_url=None,  # both pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.serving = serving
    app.state.registry = registry
    app.state.max_body = max_body
    app.add_middleware(CountRequests, metrics=HttpMetrics(registry))
    install_error_handlers(app)
    for routes in (completion_routes, chat_routes, status_routes):
        app.include_router(routes.router)
    describe_bodies(app)
    return app
