"""Bad input and bad times: each one OpenAI-shaped error with the right status, never a 500."""

import asyncio
import json
from importlib.metadata import version

import httpx
import pytest

from service.engine.client import STALL_S
from service.generate.serving import Phase, Serving
from service.http.application import create_app
from service.metrics.service_metrics import ServiceMetrics
from tests.service.fakes import FakeClock, FakeRunner
from tests.service.http.api import MODEL, api, check_error, events_of

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"prompt": "a\xff"}', b"[" * 50_000])
async def test_bodies_that_are_no_json_object(path: str, body: bytes) -> None:
    async with api(FakeRunner()) as client:
        check_error(await client.post(path, content=body), 400, code="invalid_request")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"max_tokens": 0}, "invalid_request", "max_tokens"),
        ({"max_tokens": 1_000_000}, "context_length_exceeded", "max_tokens"),
        ({"max_tokens": 10**30}, "invalid_request", "max_tokens"),
        ({"temperature": float("nan")}, "invalid_request", "temperature"),
        ({"temperature": 3}, "invalid_request", "temperature"),
        ({"top_p": float("inf")}, "invalid_request", "top_p"),
        ({"prompt": ""}, "invalid_request", "prompt"),
        ({"prompt": "x" * 5000}, "context_length_exceeded", "prompt"),
        ({"prompt": [1] * 1024}, "context_length_exceeded", "prompt"),
        ({"prompt": [260]}, "invalid_request", "prompt"),
        ({"prompt": [1, "a"]}, "invalid_request", "prompt"),
        ({"prompt": "\ud800"}, "invalid_request", None),
        ({"stop": [""]}, "invalid_request", "stop"),
        ({"foo": 1}, "unknown_parameter", "foo"),
        ({"n": 129}, "invalid_request", "n"),
        ({"suffix": "x"}, "unsupported_parameter", "suffix"),
        ({"logit_bias": {"999": 5}}, "invalid_request", "logit_bias"),
        ({"logit_bias": {"x": 5}}, "invalid_request", "logit_bias"),
        ({"logit_bias": {"1": 101}}, "invalid_request", "logit_bias[1]"),
        ({"n": 3, "best_of": 2}, "invalid_request", "best_of"),
        ({"prompt": ["a", "b"], "n": 65}, "invalid_request", "n"),
        ({"echo": True, "max_tokens": -1}, "invalid_request", "max_tokens"),
        ({"allowed_token_ids": []}, "invalid_request", "allowed_token_ids"),
        ({"bad_words": [""]}, "invalid_request", "bad_words[0]"),
        ({"priority": 101}, "invalid_request", "priority"),
        ({"timeout_s": 0}, "invalid_request", "timeout_s"),
        ({"drafter": "oracle"}, "invalid_request", "drafter"),
    ],
)
async def test_bad_completion_fields(fields: dict[str, object], code: str, param: str | None, stream: bool) -> None:
    body = json.dumps({"prompt": "a", "stream": stream, **fields})
    async with api(FakeRunner()) as client:
        response = await client.post(COMPLETIONS, content=body)
        check_error(response, 400, code=code, param=param)
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_conversation_that_is_too_long() -> None:
    async with api(FakeRunner()) as client:
        response = await client.post(CHAT, json={"messages": [{"role": "user", "content": "x" * 2000}]})
        message = check_error(response, 400, code="context_length_exceeded", param="messages")
    assert "1024" in message


async def test_unknown_model_path_and_method() -> None:
    async with api(FakeRunner()) as client:
        for path, prompt in ((COMPLETIONS, {"prompt": "a"}), (CHAT, {"messages": HI})):
            response = await client.post(path, json={"model": "gpt-99", **prompt})
            assert "gpt-99" in check_error(response, 404, code="model_not_found", param="model")
        check_error(await client.get("/v1/models/gpt-99"), 404, code="model_not_found", param="model")
        assert "/v1/nope" in check_error(await client.get("/v1/nope"), 404, code="not_found")
        response = await client.get(COMPLETIONS)
        check_error(response, 405, code="method_not_allowed")
        assert response.headers["allow"] == "POST"


async def test_a_body_beyond_the_limit() -> None:
    async with api(FakeRunner(), max_body=1000) as client:
        response = await client.post(COMPLETIONS, json={"prompt": "x" * 1000})
        assert "1000 bytes" in check_error(response, 413, code="body_too_large")


async def test_no_content_type_is_needed() -> None:
    async with api(FakeRunner(script=b"ok")) as client:
        response = await client.post(
            COMPLETIONS,
            content=b'{"prompt": "a"}',
            headers={"content-type": "application/x-www-form-urlencoded"},  # what curl -d says
        )
    assert response.json()["choices"][0]["text"] == "ok"


async def test_a_full_queue_says_when_to_come_back() -> None:
    runner = FakeRunner()
    runner.hold()
    async with api(runner, max_batch=1, token_budget=8, max_queue=1) as client:
        open_requests = [
            asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "a", "max_tokens": 1})) for _ in range(2)
        ]
        await runner.next_step()
        for stream in (False, True):
            response = await client.post(COMPLETIONS, json={"prompt": "a", "stream": stream})
            check_error(response, 503, code="queue_full")
            assert int(response.headers["retry-after"]) >= 1
        runner.let_go()
        for response in await asyncio.gather(*open_requests):
            assert response.status_code == 200


async def test_a_failed_step() -> None:
    runner = FakeRunner()
    async with api(runner) as client:
        runner.to_raise.append(RuntimeError("out of luck"))
        response = await client.post(COMPLETIONS, json={"prompt": "a"})
        assert "luck" not in check_error(response, 500, code="step_failed")
        assert (await client.post(COMPLETIONS, json={"prompt": "a"})).status_code == 200


async def test_a_step_that_fails_within_a_stream_is_its_last_event() -> None:
    runner = FakeRunner()
    runner.hold()
    async with api(runner) as client:
        response = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "a", "stream": True}))
        await runner.next_step()
        runner.allow()
        await runner.next_step()
        runner.to_raise.append(RuntimeError("out of luck"))
        runner.let_go()
        *chunks, last = events_of(await response)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert last["error"]["code"] == "step_failed"
    assert set(last) == {"error"}


async def test_a_bug_of_ours_is_a_500_without_its_details() -> None:
    metrics = ServiceMetrics()
    metrics.exposition = None  # type: ignore[assignment]  # that is the bug
    app = create_app(Serving(), metrics, max_body=100)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/metrics")
    assert check_error(response, 500, code="internal_error") == "internal error"


async def test_loading_ready_draining() -> None:
    state = Serving()
    app = create_app(state, ServiceMetrics(), max_body=1000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert state.phase is Phase.LOADING
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        check_error(await client.post(COMPLETIONS, json={"prompt": "a"}), 503, code="not_ready")
        assert (await client.get("/v1/models")).json() == {"object": "list", "data": []}
        assert (await client.get("/metrics")).status_code == 200
        state.drain()
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        check_error(await client.post(CHAT, json={"messages": HI}), 503, code="draining")
        assert (await client.get("/health/live")).status_code == 200


async def test_a_server_whose_engine_hangs_is_not_live() -> None:
    clock, runner = FakeClock(), FakeRunner()
    async with api(runner, clock=clock) as client:
        assert (await client.get("/health/live")).status_code == 200
        runner.hold()
        task = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "a", "max_tokens": 1}))
        await runner.next_step()
        clock.advance(STALL_S)
        live = await client.get("/health/live")
        assert (live.status_code, live.json()) == (503, {"status": "stalled"})
        runner.let_go()
        assert (await task).status_code == 200
        assert (await client.get("/health/live")).json() == {"status": "live"}


async def test_ready_models_and_version() -> None:
    async with api(FakeRunner()) as client:
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        listed = (await client.get("/v1/models")).json()
        assert listed["object"] == "list"
        (model,) = listed["data"]
        assert model["id"] == MODEL
        assert model["object"] == "model"
        assert model["max_model_len"] == 1024
        assert (await client.get(f"/v1/models/{MODEL}")).json() == model
        assert (await client.get("/version")).json() == {"version": version("gemmule")}
