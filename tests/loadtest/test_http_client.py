"""What the client does of connections that end too early."""

import asyncio
import re
import time
from asyncio import gather
from collections.abc import Callable

import pytest

from loadtest.conversation import Ask, Reply, Turn
from loadtest.errors import RequestFailed
from loadtest.http_client import HttpClient

CHUNK = b'data: {"choices": [{"text": "a", "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
ASK = Ask(Turn("a", 1))
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(CHUNK) + CHUNK


async def has_request(reader: asyncio.StreamReader) -> bool:
    """Reads one; False where the client has closed the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return False
    (length,) = re.findall(rb"content-length: (\d+)", head.lower())
    await reader.readexactly(int(length))
    return True


def asked(rounds: list[int], answers: Callable[[int, int], bool]) -> tuple[list[Reply], int]:
    """Rounds of so many requests at once, (replies, connections). answers: whether the number of a connection and of a
    request on it gets one, or the connection is closed."""
    num_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        connection, num_connections = num_connections, num_connections + 1
        number = 0
        try:
            while await has_request(reader) and answers(connection, number):
                writer.write(ANSWER)
                number += 1
        finally:
            writer.close()
            await writer.wait_closed()

    async def run() -> list[Reply]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            client = HttpClient(f"http://{host}:{port}", clock=time.monotonic, model="m")
            try:
                return [reply for size in rounds for reply in await gather(*(client.ask(ASK) for _ in range(size)))]
            finally:
                await client.close()

    return asyncio.run(run()), num_connections


def test_a_kept_connection_that_closes_costs_no_request() -> None:
    replies, num_connections = asked([1, 1, 1], lambda _, number: number == 0)
    assert [reply.text for reply in replies] == ["a"] * 3
    assert num_connections == 3


def test_all_kept_connections_may_close() -> None:
    replies, num_connections = asked([8, 1], lambda _, number: number == 0)
    assert [reply.text for reply in replies] == ["a"] * 9
    assert num_connections == 9


def test_connections_are_kept() -> None:
    assert asked([1, 1, 1], lambda *_: True)[1] == 1


def test_a_new_connection_that_closes_has_failed() -> None:
    with pytest.raises(RequestFailed, match="RemoteProtocolError"):
        asked([1], lambda *_: False)


def test_no_request_is_sent_a_third_time() -> None:
    with pytest.raises(RequestFailed, match="RemoteProtocolError"):
        asked([1, 1], lambda connection, number: connection == 0 and number == 0)


async def test_a_url_that_is_not_http_is_asked_once() -> None:
    client = HttpClient("ftp://127.0.0.1:9", clock=time.monotonic, model="m")
    with pytest.raises(RequestFailed, match="UnsupportedProtocol"):
        await client.ask(ASK)
    await client.close()


async def test_a_server_that_is_not_there() -> None:
    client = HttpClient("http://127.0.0.1:9", clock=time.monotonic, model="m")
    with pytest.raises(RequestFailed, match="ConnectError"):
        await client.ask(ASK)
    await client.close()
