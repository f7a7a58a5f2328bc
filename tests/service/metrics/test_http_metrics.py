"""Every request is counted once, under its route and the status its client saw."""

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from service.metrics.http_metrics import CountRequests, HttpMetrics


class Route:
    path = "/v1/models/{name}"


async def no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def nowhere(message: Message) -> None:
    pass


@pytest.mark.parametrize(
    ("statuses_and_ends", "expected"),
    [((200, True), "200"), ((404, True), "404"), ((200, False), "499"), ((None, False), "499")],
)
async def test_status_by_endpoint(statuses_and_ends: tuple[int | None, bool], expected: str) -> None:
    status, ends = statuses_and_ends
    registry = CollectorRegistry()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = Route()
        assert registry.get_sample_value("gemmule_http_requests_in_flight") == 1
        if status is not None:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        if ends:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    await CountRequests(app, HttpMetrics(registry))({"type": "http"}, no_body, nowhere)
    labels = {"endpoint": "/v1/models/{name}", "status": expected}
    assert registry.get_sample_value("gemmule_http_requests_total", labels) == 1
    assert registry.get_sample_value("gemmule_http_requests_in_flight") == 0


async def test_a_path_without_route_makes_no_series_of_its_own() -> None:
    registry = CollectorRegistry()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    counted = CountRequests(app, HttpMetrics(registry))
    for path in ("/a", "/b"):
        await counted({"type": "http", "path": path}, no_body, nowhere)
    labels = {"endpoint": "none", "status": "404"}
    assert registry.get_sample_value("gemmule_http_requests_total", labels) == 2


async def test_a_crash_is_a_500_and_passes_on() -> None:
    registry = CollectorRegistry()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        await CountRequests(app, HttpMetrics(registry))({"type": "http"}, no_body, nowhere)
    assert registry.get_sample_value("gemmule_http_requests_total", {"endpoint": "none", "status": "500"}) == 1


async def test_what_is_not_http_is_not_counted() -> None:
    registry = CollectorRegistry()
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await CountRequests(app, HttpMetrics(registry))({"type": "lifespan"}, no_body, nowhere)
    assert seen == ["lifespan"]
    assert "gemmule_http_requests_total" not in [sample.name for m in registry.collect() for sample in m.samples]
