"""The HTTP face over a fake model, in this process: an httpx client that needs no socket."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from service.access import Access
from service.generate.generator import Generator
from service.generate.serving import Serving
from service.http.application import create_app
from service.metrics.engine_metrics import EngineCollector
from service.metrics.service_metrics import ServiceMetrics
from tests.service.fakes import FakeChatTemplate, FakeRunner, FakeTokenizer, serving

MODEL = "fake"
CREATED_S = 1_700_000_000


@asynccontextmanager
async def api(
    runner: FakeRunner,
    *,
    max_body: int = 1 << 20,
    has_chat_template: bool = True,
    sse_keep_alive_s: float = 60.0,
    access: Access | None = None,
    allowed_origins: Sequence[str] = (),
    body_timeout_s: float = 60.0,
    **arguments: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """`client.app` is the application (arguments: tests.service.fakes.serving)."""
    metrics = ServiceMetrics()
    async with serving(runner, observer=metrics.observer(MODEL), **arguments) as engine:
        metrics.registry.register(EngineCollector(engine.stats))
        state = Serving(clock=lambda: CREATED_S)
        generator = Generator(engine, FakeTokenizer(), FakeChatTemplate() if has_chat_template else None)
        state.open(MODEL, generator, engine.max_context, engine.stats)
        app = create_app(
            state,
            metrics,
            max_body=max_body,
            access=access,
            allowed_origins=allowed_origins,
            sse_keep_alive_s=sse_keep_alive_s,
            body_timeout_s=body_timeout_s,
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


def events_of(response: httpx.Response) -> list[Any]:
    """The decoded events of a stream, which must be well formed and end with [DONE]."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.endswith("\n\n")
    blocks = response.text.removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    values = [block.removeprefix("data: ") for block in blocks]
    assert values[-1] == "[DONE]"
    return [json.loads(value) for value in values[:-1]]


def check_error(response: httpx.Response, status: int, *, code: str, param: str | None = None) -> str:
    """An OpenAI-shaped error, and nothing else in the body; its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == code
    assert body["error"]["param"] == param
    message = body["error"]["message"]
    assert isinstance(message, str)
    assert message
    assert "\n" not in message
    return message
