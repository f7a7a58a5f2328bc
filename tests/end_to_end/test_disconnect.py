"""Clients that leave: whatever they waited for, it stops costing at once and its KV blocks are free."""

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.requests import CHAT, COMPLETIONS, GREEDY, STORY
from tests.end_to_end.server import LIMIT_S, Metrics, Server, post, served

MAX_TOKENS = 3900
SLACK_TOKENS = MAX_TOKENS / 4
"""What may be computed between our last look at the server and its seeing a client leave: on a machine that is busy
with other things we look seldom. (That it is one step by the server's own clock is shown over a fake model.)"""


@pytest.fixture(scope="module")
def server(tiny_gguf_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two sequences at a time, on the slowest rung: a request takes several seconds."""
    model = tiny_gguf_of(context=4096, embedding=256, ffn=768, num_layers=3)
    flags = ("--isa", "scalar", "--threads", "1", "--max-batch", "2", "--max-queue", "4")
    with served(model, tmp_path_factory.mktemp("slow"), *flags) as running:
        yield running


class Client:
    """One HTTP/1.1 request on a socket of its own."""

    def __init__(self, server: Server, body: dict[str, Any], path: str = COMPLETIONS) -> None:
        self.socket = socket.create_connection(server.host_and_port, LIMIT_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        payload = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n\r\n"
        self.socket.sendall(head.encode() + payload)

    def read_until(self, wanted: bytes) -> bytes:
        seen = b""
        while wanted not in seen:
            more = self.socket.recv(512)
            assert more, seen
            seen += more
        return seen

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Ends the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def long_body(path: str, stream: bool) -> dict[str, Any]:
    body = {**GREEDY, "max_tokens": MAX_TOKENS, "stream": stream}
    if path == CHAT:
        body |= {"messages": [{"role": "user", "content": STORY}], "logprobs": True}
        del body["prompt"]
    return body


def wait_for_running(server: Server, num_requests: int, num_queued: int = 0) -> Metrics:
    server.wait_for_metric("gemmule_requests_running", num_requests)
    return server.wait_for_metric("gemmule_requests_waiting", num_queued)


def check_all_is_free(server: Server, tokens_before: float) -> None:
    """Nothing is held, next to nothing was computed after the leaving, nothing is computed any more."""
    server.wait_for_metric("gemmule_kv_blocks_used", 0)
    freed = wait_for_running(server, 0)
    computed = freed.value("gemmule_generation_tokens_total")
    assert computed - tokens_before < SLACK_TOKENS
    time.sleep(0.05)
    assert server.metrics().value("gemmule_generation_tokens_total") == computed


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_within_a_stream(server: Server, path: str, leave: Callable[[Client], None]) -> None:
    aborted = server.metrics().value("gemmule_e2e_request_latency_seconds_count", finish_reason="abort")
    client = Client(server, long_body(path, stream=True), path)
    client.read_until(b"data: ")
    metrics = wait_for_running(server, 1)
    assert metrics.value("gemmule_kv_blocks_used") > 0
    leave(client)
    check_all_is_free(server, metrics.value("gemmule_generation_tokens_total"))
    ended = server.metrics().value("gemmule_e2e_request_latency_seconds_count", finish_reason="abort")
    assert ended == aborted + 1


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
def test_a_stream_that_was_half_read(server: Server, leave: Callable[[Client], None]) -> None:
    client = Client(server, long_body(COMPLETIONS, stream=True))
    client.read_until(b"data: ")
    before = server.metrics().value("gemmule_generation_tokens_total")
    while (metrics := server.metrics()).value("gemmule_generation_tokens_total") < before + 100:
        time.sleep(0.01)  # events pile up unread
    leave(client)
    check_all_is_free(server, metrics.value("gemmule_generation_tokens_total"))


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_while_waiting_for_a_plain_answer(server: Server, path: str, leave: Callable[[Client], None]) -> None:
    client = Client(server, long_body(path, stream=False), path)
    metrics = wait_for_running(server, 1)
    leave(client)
    check_all_is_free(server, metrics.value("gemmule_generation_tokens_total"))


@pytest.mark.parametrize("stream", [True, False])
def test_in_the_queue(server: Server, stream: bool) -> None:
    running = [Client(server, long_body(COMPLETIONS, stream=True)) for _ in range(2)]
    wait_for_running(server, 2)
    queued = Client(server, long_body(COMPLETIONS, stream=stream))
    wait_for_running(server, 2, 1)
    queued.close()
    metrics = wait_for_running(server, 2, 0)
    for client in running:
        client.read_until(b"data: ")  # they go on
        client.close()
    check_all_is_free(server, metrics.value("gemmule_generation_tokens_total"))


def test_one_that_leaves_does_not_change_what_another_gets(server: Server) -> None:
    body = {**GREEDY, "max_tokens": 500}
    alone = post(server, COMPLETIONS, body)["choices"]
    leaver = Client(server, long_body(COMPLETIONS, stream=True))
    leaver.read_until(b"data: ")
    staying = Client(server, body)
    wait_for_running(server, 2)
    leaver.close()
    head, _, rest = staying.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(rest) < length:
        rest += staying.socket.recv(4096)
    staying.close()
    assert json.loads(rest)["choices"] == alone


def test_a_full_queue_refuses_and_recovers(server: Server) -> None:
    clients = [Client(server, long_body(COMPLETIONS, stream=True)) for _ in range(2 + 4)]
    wait_for_running(server, 2, 4)
    refused = Client(server, long_body(COMPLETIONS, stream=False))
    answer = refused.read_until(b"}}")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer.lower()
    assert b'"queue_full"' in answer
    for client in [*clients, refused]:
        client.close()
    server.wait_for_metric("gemmule_requests_waiting", 0)
    server.wait_for_metric("gemmule_kv_blocks_used", 0)
    assert post(server, COMPLETIONS, {**GREEDY, "max_tokens": 2})["usage"]["completion_tokens"] == 2
