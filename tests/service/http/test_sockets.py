"""The HTTP face on a real socket: streams arrive step by step, and a client that leaves stops costing at once."""

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.errors import StartupError
from service.http.server import answering, listen, url_of
from tests.service.fakes import FakeRunner
from tests.service.http.api import api


@asynccontextmanager
async def server(
    runner: FakeRunner, *, max_connections: int = 1000, **arguments: Any
) -> AsyncIterator[httpx.AsyncClient]:
    async with api(runner, **arguments) as inner:
        transport = inner._transport
        assert isinstance(transport, httpx.ASGITransport)
        listener = listen("127.0.0.1", 0)
        url = url_of(listener)
        async with (
            answering(transport.app, listener, keep_alive_s=5, max_connections=max_connections),
            httpx.AsyncClient(base_url=url) as client,
        ):
            yield client


async def value(client: httpx.AsyncClient, series: str) -> float:
    text = (await client.get("/metrics")).text
    values = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(values[0]) if values else 0.0


async def wait_for(client: httpx.AsyncClient, series: str, wanted: float) -> None:
    async with asyncio.timeout(10):
        while await value(client, series) != wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("route", ["completions", "chat/completions"])
async def test_chunks_arrive_while_the_model_still_works(route: str) -> None:
    runner = FakeRunner()
    runner.hold()
    body = {"prompt": "a"} if route == "completions" else {"messages": [{"role": "user", "content": "a"}]}
    async with (
        server(runner) as client,
        client.stream("POST", f"/v1/{route}", json={**body, "stream": True, "max_tokens": 3}) as response,
    ):
        assert response.status_code == 200  # the head, and in a chat the role, do not wait for the first token
        lines = (line async for line in response.aiter_lines() if line)
        if route != "completions":
            assert json.loads((await anext(lines)).removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
        for _ in range(3):
            runner.allow()
            chunk = json.loads((await anext(lines)).removeprefix("data: "))
            assert len(chunk["choices"]) == 1
        assert await anext(lines) == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_blocks_within_a_step(stream: bool) -> None:
    runner = FakeRunner(step_s=0.005)
    body = {"prompt": "a" * 100, "stream": stream, "max_tokens": 900}
    async with server(runner) as client:
        async with httpx.AsyncClient(base_url=client.base_url) as leaver:
            if stream:
                async with leaver.stream("POST", "/v1/completions", json=body) as response:
                    async for line in response.aiter_lines():
                        if line:
                            break
            else:
                with pytest.raises(httpx.ReadTimeout):
                    await leaver.post("/v1/completions", json=body, timeout=0.2)
        await wait_for(client, "gemmule_requests_running", 0)
        num_steps = len(runner.plans)
        assert await value(client, "gemmule_kv_blocks_used") == 0
        await asyncio.sleep(0.1)
        assert len(runner.plans) == num_steps
        assert await value(client, "gemmule_generation_tokens_total") < 100
        labels = '{endpoint="/v1/completions",status="499"}'
        await wait_for(client, f"gemmule_http_requests_total{labels}", 1)


async def test_one_that_leaves_does_not_disturb_the_others() -> None:
    runner = FakeRunner(step_s=0.002)
    body = {"prompt": "same", "temperature": 0, "max_tokens": 60}
    async with server(runner) as client:
        alone = (await client.post("/v1/completions", json=body)).json()["choices"]
        staying = asyncio.ensure_future(client.post("/v1/completions", json=body))
        for _ in range(4):
            async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
                await anext(response.aiter_lines())
        assert (await staying).json()["choices"] == alone
        await wait_for(client, "gemmule_requests_running", 0)
        assert await value(client, "gemmule_kv_blocks_used") == 0


async def test_a_client_that_does_not_read_does_not_hold_up_the_engine() -> None:
    runner = FakeRunner()
    async with server(runner) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        body = json.dumps({"prompt": "a", "stream": True, "max_tokens": 900}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        writer.write(head + body)
        await writer.drain()
        await wait_for(client, 'gemmule_e2e_request_latency_seconds_count{finish_reason="length"}', 1)
        text = (await reader.readuntil(b"[DONE]\n\n")).decode()
        assert text.startswith("HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("body", [b"", b'{"prompt": '])
async def test_a_client_that_leaves_within_its_body_is_no_error_of_ours(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with server(FakeRunner()) as client:
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + body)
        await writer.drain()
        await wait_for(client, "gemmule_http_requests_in_flight", 2)  # this one, and the one that asks
        writer.close()
        await writer.wait_closed()
        await wait_for(client, 'gemmule_http_requests_total{endpoint="/v1/completions",status="499"}', 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_port_in_use_is_one_clear_line() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(StartupError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            listen("127.0.0.1", port)


def test_a_host_that_is_none_of_ours() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on 203\.0\.113\.1:0: "):
        listen("203.0.113.1", 0)


def test_url_of_both_families() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url_of(listener))
    if socket.has_ipv6:
        try:
            listener = listen("::1", 0)
        except StartupError:
            pytest.skip("no IPv6 here")
        with listener:
            assert re.fullmatch(r"http://\[::1\]:\d+", url_of(listener))
