"""Counts requests by endpoint and status: an ASGI middleware. Knows no body."""

from collections.abc import Awaitable

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that did not wait for the whole response."""
NO_ENDPOINT = "none"


class HttpMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "gemmule_http_requests",
            "Requests answered, by route and status (499: the client left before the end).",
            ["endpoint", "status"],
            registry=registry,
        )
        self.in_flight = Gauge("gemmule_http_requests_in_flight", "Requests being answered.", registry=registry)


class CountRequests:
    """The outermost middleware: also sees what the error handlers answer."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_CLOSED_REQUEST  # until the response has been sent to its end
        started = 500

        def counted(message: Message) -> Awaitable[None]:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = message["status"]
            elif not message.get("more_body", False):
                status = started
            return send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, counted)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.in_flight.dec()
            # The route's template, never the path itself: a client must not be able to make series.
            route = scope.get("route")
            self._metrics.requests.labels(getattr(route, "path", NO_ENDPOINT), str(status)).inc()
