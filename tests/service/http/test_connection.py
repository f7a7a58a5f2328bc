"""A connection keeps its bounds: how many there are, how long a head is and may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.http import connection
from service.http.connection import HEAD_S, HeadTimer
from service.http.server import answering, listen
from tests.service.fakes import FakeRunner
from tests.service.http.api import api

GET = b"GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n"


@asynccontextmanager
async def listening(max_connections: int = 100) -> AsyncIterator[tuple[str, int]]:
    async with api(FakeRunner()) as inner:
        transport = inner._transport
        assert isinstance(transport, httpx.ASGITransport)
        listener = listen("127.0.0.1", 0)
        address = listener.getsockname()[:2]
        faces: Any = answering(transport.app, listener, keep_alive_s=5, max_connections=max_connections)
        async with faces:
            yield address


async def response(reader: asyncio.StreamReader) -> bytes:
    """The status line; head and body are read."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return head.split(b"\r\n")[0]


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers without end, until an answer or the end of the connection."""
    for number in range(100):
        writer.write(b"x-%d: " % number + b"a" * 4096 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)
    assert b" 400 " in await response(reader)
    await reader.readexactly(1)


async def test_requests_follow_each_other_on_a_connection() -> None:
    async with listening() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        assert b" 200 " in await response(reader)
        writer.write(GET[:10])
        await asyncio.sleep(0.05)
        writer.write(GET[10:] + GET)  # the rest of one and, without waiting, another
        assert b" 200 " in await response(reader)
        assert b" 200 " in await response(reader)
        writer.close()


async def test_an_endless_head_is_refused() -> None:
    async with listening() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await pour(reader, writer)
        writer.close()


async def test_the_rest_of_a_body_that_was_answered_may_still_come() -> None:
    async with listening() as address:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(2):
            writer.write(b"POST /nowhere HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\nx")
            assert b" 404 " in await response(reader)
            writer.write(b"x" * 999)
        writer.write(GET)
        assert b" 200 " in await response(reader)
        writer.close()


async def test_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    async with listening() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /nowhere HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\nx")
        assert b" 404 " in await response(reader)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_one_connection_too_many_is_dropped() -> None:
    async with listening(max_connections=2) as address:
        pairs = [await asyncio.open_connection(*address) for _ in range(2)]
        for reader, writer in pairs:
            writer.write(GET)
            assert b" 200 " in await response(reader)
        reader, extra = await asyncio.open_connection(*address)
        extra.write(GET)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        for writer in (extra, *(writer for _, writer in pairs)):
            writer.close()


async def test_a_head_has_so_long_and_no_longer() -> None:
    class Transport:
        closed = False

        def is_closing(self) -> bool:
            return self.closed

        def close(self) -> None:
            self.closed = True

    class Loop:
        def call_later(self, seconds: float, call: Any) -> asyncio.TimerHandle:
            assert seconds == HEAD_S
            calls.append(call)
            return asyncio.get_running_loop().call_later(3600, lambda: None)

    calls: list[Any] = []
    transport: Any = Transport()
    loop: Any = Loop()
    timer = HeadTimer(loop, transport)
    timer.start()
    timer.start()
    assert len(calls) == 1
    timer.stop()
    timer.start()
    calls[-1]()
    assert transport.closed
    timer.start()
    assert len(calls) == 2
