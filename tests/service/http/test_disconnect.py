"""Work tied to a client: its result, its errors, and its end when the client goes."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from service.http.disconnect import ClientGone, while_connected
from service.http.event_stream import EventStream


class Connection:
    """An ASGI client that stays until told to leave."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def test_result_and_error_pass_through() -> None:
    async def seven() -> int:
        return 7

    async def fails() -> int:
        raise ValueError("no")

    connection = Connection()
    assert await while_connected(connection.receive, seven()) == 7
    with pytest.raises(ValueError, match="no"):
        await while_connected(connection.receive, fails())


async def test_client_that_leaves_cancels_the_work_and_waits_for_its_end() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("closed")

    connection = Connection()
    waiting = asyncio.ensure_future(while_connected(connection.receive, work()))
    await asyncio.sleep(0.01)
    assert steps == ["begun"]
    connection.leave()
    with pytest.raises(ClientGone):
        await waiting
    assert steps == ["begun", "closed"]


async def test_cancelling_the_waiter_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(while_connected(Connection().receive, work()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_event_stream_sends_whole_events_and_an_end() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    connection = Connection()
    closes: list[bool] = []
    stream = EventStream(events(), lambda: closes.append(True), 60.0)
    await stream({"type": "http"}, connection.receive, connection.send)
    assert closes == [True]
    start, *bodies = connection.sent
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"
    assert b"content-length" not in headers
    assert [body["body"] for body in bodies] == [b"data: 1\n\n", b"data: 2\n\n", b""]
    assert [body["more_body"] for body in bodies] == [True, True, False]


@pytest.mark.parametrize("blocked_in", ["source", "send"])
async def test_event_stream_closes_its_source_when_the_client_leaves(blocked_in: str) -> None:
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    connection = Connection()

    async def send(message: Message) -> None:
        await connection.send(message)
        if blocked_in == "send" and message["type"] == "http.response.body":
            await asyncio.Event().wait()  # a client that does not read

    closes: list[bool] = []
    stream = EventStream(events(), lambda: closes.append(True), 60.0)
    response = asyncio.ensure_future(stream({"type": "http"}, connection.receive, send))
    await asyncio.sleep(0.01)
    connection.leave()
    await asyncio.wait_for(response, 1)
    assert closed.is_set()
    assert closes == [True]
    assert [message["type"] for message in connection.sent] == ["http.response.start", "http.response.body"]


async def test_event_stream_of_a_client_that_left_before_the_first_event_is_closed_all_the_same() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"never"

    connection = Connection()
    connection.leave()
    closes: list[bool] = []
    stream = EventStream(events(), lambda: closes.append(True), 60.0)
    running = asyncio.ensure_future(stream({"type": "http"}, connection.receive, connection.send))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert closes == [True]
