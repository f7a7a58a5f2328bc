"""Keys, limits and headers of the HTTP face, tried from outside."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.access import Access
from tests.service.fakes import FakeRunner
from tests.service.http.api import api, check_error
from tests.service.http.test_sockets import server, wait_for

KEY = {"authorization": "Bearer sk-the-right-one"}
ASK = {"prompt": "a", "max_tokens": 1}


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"authorization": "Bearer sk-the-wrong-one"}, ""),
        ({"authorization": "sk-the-right-one"}, ""),
        ({"x-api-key": "sk-the-right-one"}, ""),
        ({"cookie": "authorization=Bearer sk-the-right-one"}, ""),
        ({}, "?api_key=sk-the-right-one"),
    ],
)
async def test_without_the_key_in_its_place(headers: dict[str, str], query: str) -> None:
    runner = FakeRunner()
    async with api(runner, access=Access("sk-the-right-one")) as client:
        for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/nowhere"):
            response = await client.post(path + query, json=ASK, headers=headers)
            message = check_error(response, 401, code="invalid_api_key")
            assert "right-one" not in message
            assert response.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/models", "/v1/kernels", "/openapi.json"):
            assert (await client.get(path + query, headers=headers)).status_code == 401
    assert not runner.plans


async def test_with_the_key_and_where_none_is_needed() -> None:
    async with api(FakeRunner(), access=Access("sk-the-right-one")) as client:
        assert (await client.post("/v1/completions", json=ASK, headers=KEY)).status_code == 200
        for path in ("/health/live", "/health/ready", "/v2/health/live", "/metrics"):
            assert (await client.get(path)).status_code == 200


async def test_a_key_has_as_many_open_requests_as_it_may(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("sk-the-right-one max_open=1\nsk-another-one\n")
    runner = FakeRunner()
    runner.hold()
    async with api(runner, access=Access(file=tmp_path / "keys")) as client:
        first = asyncio.ensure_future(client.post("/v1/completions", json={**ASK, "stream": True}, headers=KEY))
        await runner.next_step()
        check_error(await client.post("/v1/completions", json=ASK, headers=KEY), 429, code="rate_limit_exceeded")
        other = asyncio.ensure_future(
            client.post("/v1/completions", json=ASK, headers={"authorization": "Bearer sk-another-one"})
        )
        runner.let_go()
        assert {(await first).status_code, (await other).status_code} == {200}
        assert (await client.post("/v1/completions", json=ASK, headers=KEY)).status_code == 200


async def test_headers_of_every_answer() -> None:
    async with api(FakeRunner()) as client:
        for response in (
            await client.post("/v1/completions", json=ASK),
            await client.post("/v1/completions", json={**ASK, "stream": True}),
            await client.get("/nowhere"),
            await client.get("/metrics"),
        ):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert "server" not in response.headers


async def test_no_other_origin_is_let_in() -> None:
    async with api(FakeRunner()) as client:
        headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
        preflight = await client.options("/v1/completions", headers=headers)
        assert preflight.status_code == 405
        answer = await client.post("/v1/completions", json=ASK, headers=headers)
        for response in (preflight, answer):
            assert not [name for name in response.headers if name.startswith("access-control")]


async def test_an_origin_that_is_let_in() -> None:
    origin = {"origin": "https://app.example"}
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    access = Access("sk-the-right-one")
    async with api(FakeRunner(), access=access, allowed_origins=["https://app.example"]) as client:
        preflight = await client.options("/v1/completions", headers=origin | wanted)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        answer = await client.post("/v1/completions", json=ASK, headers=KEY | origin)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in answer.headers
        assert (await client.post("/v1/completions", json=ASK, headers=origin)).status_code == 401
        elsewhere = {"origin": "https://elsewhere.example"}
        refused = await client.options("/v1/completions", headers=elsewhere | wanted)
        assert "access-control-allow-origin" not in refused.headers
        answer = await client.post("/v1/completions", json=ASK, headers=KEY | elsewhere)
        assert "access-control-allow-origin" not in answer.headers


async def test_a_body_that_does_not_come() -> None:
    runner = FakeRunner()
    async with server(runner, body_timeout_s=0.1) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        writer.close()
        await wait_for(client, "gemmule_http_requests_in_flight", 1)  # the scrape itself
    assert not runner.plans


@pytest.mark.parametrize(
    "head",
    [
        b"GET /version HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00\xff" * 1000,
    ],
)
async def test_header_bombs(head: bytes) -> None:
    async with server(FakeRunner()) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(head)
        answer = b""
        try:
            async with asyncio.timeout(10):
                answer = await reader.read(100)
        except ConnectionError:
            pass  # cut off while it was still writing
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await client.get("/version")).status_code == 200


async def test_half_open_connections_are_bounded() -> None:
    """The limit's worth of them; one more is dropped, and when they leave there is room again."""
    async with server(FakeRunner(), max_connections=50) as client:
        assert (await client.get("/version")).status_code == 200
        with ExitStack() as opened:
            address = (client.base_url.host, client.base_url.port)
            sockets = [opened.enter_context(socket.create_connection(address)) for _ in range(200)]
            for connection in sockets:
                connection.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(10):
                dropped = 0
                while dropped < 150:
                    await asyncio.sleep(0.01)
                    dropped = sum(map(_is_closed, sockets))
            assert 150 <= dropped <= 151
            assert loop.is_running()
            assert (await client.get("/version")).status_code == 200, "who was there before is served on"
        async with httpx.AsyncClient(base_url=client.base_url) as later, asyncio.timeout(10):
            while True:
                try:
                    assert (await later.get("/version")).status_code == 200
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.01)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
