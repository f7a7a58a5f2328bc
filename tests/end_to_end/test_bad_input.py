"""What nobody should send: one clear OpenAI-shaped error each, and a server that goes on as if nothing had happened."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.requests import CHAT, COMPLETIONS, GREEDY
from tests.end_to_end.server import LIMIT_S, Server, post

NESTED = b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

# What is sent, and what the error is about: (status, code, param).
RAW = {
    "nothing": (b"", 400, "invalid_request", None),
    "half an object": (b'{"prompt": "a"', 400, "invalid_request", None),
    "not JSON": (b"prompt=a", 400, "invalid_request", None),
    "trailing data": (b'{"prompt": "a"} {}', 400, "invalid_request", None),
    "invalid UTF-8": (b'{"prompt": "\xff\xfe\x80"}', 400, "invalid_request", None),
    "UTF-16": ('{"prompt": "a"}'.encode("utf-16"), 400, "invalid_request", None),
    "half a character": (b'{"prompt": "\xc3"}', 400, "invalid_request", None),
    "a lone surrogate": (b'{"prompt": "\\ud800"}', 400, "invalid_request", None),
    "NaN": (b'{"prompt": "a", "temperature": NaN}', 400, "invalid_request", "temperature"),
    "Infinity": (b'{"prompt": "a", "temperature": Infinity}', 400, "invalid_request", "temperature"),
    "a huge exponent": (b'{"prompt": "a", "temperature": 1e999}', 400, "invalid_request", "temperature"),
    "a large integer": (b'{"prompt": "a", "max_tokens": 1' + b"0" * 50 + b"}", 400, "invalid_request", "max_tokens"),
    "a huge integer": (b'{"prompt": "a", "max_tokens": 1' + b"0" * 5000 + b"}", 400, "invalid_request", None),
    "too deep": (NESTED, 400, "invalid_request", None),
    "an array": (b'[{"prompt": "a"}]', 400, "invalid_request", None),
    "a string": (b'"prompt"', 400, "invalid_request", None),
    "null": (b"null", 400, "invalid_request", None),
    "too large": (b'{"prompt": "' + b"a" * (5 << 20) + b'"}', 413, "body_too_large", None),
}

COMPLETION_FIELDS: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "invalid_request", "prompt"),
    ({"prompt": ""}, "invalid_request", "prompt"),
    ({"prompt": []}, "invalid_request", "prompt"),
    ({"prompt": [[]]}, "invalid_request", "prompt"),
    ({"prompt": [""]}, "invalid_request", "prompt"),
    ({"prompt": None}, "invalid_request", "prompt"),
    ({"prompt": 5}, "invalid_request", "prompt"),
    ({"prompt": {"text": "a"}}, "invalid_request", "prompt"),
    ({"prompt": ["a", 5]}, "invalid_request", "prompt"),
    ({"prompt": [5, "a"]}, "invalid_request", "prompt"),
    ({"prompt": [-1]}, "invalid_request", "prompt"),
    ({"prompt": [379]}, "invalid_request", "prompt"),
    ({"prompt": [1 << 40]}, "invalid_request", "prompt"),
    ({"prompt": [True]}, "invalid_request", "prompt"),
    ({"prompt": [5] * 4096}, "context_length_exceeded", "prompt"),
    ({"prompt": "sponge " * 5000}, "context_length_exceeded", "prompt"),
    ({"prompt": ["a"] * 129}, "invalid_request", "prompt"),
    ({"prompt": "a", "max_tokens": 0}, "invalid_request", "max_tokens"),
    ({"prompt": "a", "max_tokens": -1}, "invalid_request", "max_tokens"),
    ({"prompt": "a", "max_tokens": 1.5}, "invalid_request", "max_tokens"),
    ({"prompt": "a", "max_tokens": "5"}, "invalid_request", "max_tokens"),
    ({"prompt": "a", "max_tokens": True}, "invalid_request", "max_tokens"),
    ({"prompt": "a", "max_tokens": 4097}, "context_length_exceeded", "max_tokens"),
    ({"prompt": "a", "max_tokens": (1 << 31) - 1}, "context_length_exceeded", "max_tokens"),
    ({"prompt": "a", "max_tokens": 1 << 31}, "invalid_request", "max_tokens"),
    ({"prompt": "a", "temperature": -0.1}, "invalid_request", "temperature"),
    ({"prompt": "a", "temperature": "hot"}, "invalid_request", "temperature"),
    ({"prompt": "a", "top_p": 0}, "invalid_request", "top_p"),
    ({"prompt": "a", "top_p": 1.01}, "invalid_request", "top_p"),
    ({"prompt": "a", "top_k": -2}, "invalid_request", "top_k"),
    ({"prompt": "a", "min_p": 2}, "invalid_request", "min_p"),
    ({"prompt": "a", "seed": 1 << 64}, "invalid_request", "seed"),
    ({"prompt": "a", "stop": ""}, "invalid_request", "stop"),
    ({"prompt": "a", "stop": ["x"] * 17}, "invalid_request", "stop"),
    ({"prompt": "a", "stop": "x" * 2000}, "invalid_request", "stop"),
    ({"prompt": "a", "logprobs": 21}, "invalid_request", "logprobs"),
    ({"prompt": "a", "stream": "yes"}, "invalid_request", "stream"),
    ({"prompt": "a", "stream": False, "stream_options": {}}, "invalid_request", "stream_options"),
    ({"prompt": "a", "n": 0}, "invalid_request", "n"),
    ({"prompt": "a", "n": 1 << 20}, "invalid_request", "n"),
    ({"prompt": "a", "n": 2, "best_of": 1}, "invalid_request", "best_of"),
    ({"prompt": "a", "suffix": "b"}, "unsupported_parameter", "suffix"),
    ({"prompt": "a", "echo": "yes"}, "invalid_request", "echo"),
    ({"prompt": "a", "logit_bias": {"379": 1}}, "invalid_request", "logit_bias"),
    ({"prompt": "a", "logit_bias": {"five": 1}}, "invalid_request", "logit_bias"),
    ({"prompt": "a", "response_format": {"type": "xml"}}, "invalid_request", "response_format.type"),
    ({"prompt": "a", "no_such_field": 1}, "unknown_parameter", "no_such_field"),
    ({"prompt": "a", "Prompt": "b"}, "unknown_parameter", "Prompt"),
]

CHAT_FIELDS: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "invalid_request", "messages"),
    ({"messages": []}, "invalid_request", "messages"),
    ({"messages": "hello"}, "invalid_request", "messages"),
    ({"messages": [{"role": "user"}]}, "invalid_request", "messages[0]"),
    ({"messages": [{"role": "narrator", "content": "a"}]}, "invalid_request", "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "invalid_request", "messages[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "invalid_request", "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a", "x": 1}]}, "unknown_parameter", "messages[0].x"),
    ({"messages": [{"role": "user", "content": "sponge " * 5000}]}, "context_length_exceeded", "messages"),
    ({"messages": [{"role": "user", "content": "a"}], "tools": [{}]}, "invalid_request", "tools[0].type"),
    ({"messages": [{"role": "user", "content": "a"}], "max_tokens": 0}, "invalid_request", "max_tokens"),
]


@pytest.fixture(autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """After each of these the server answers, computes and holds nothing."""
    yield
    assert httpx.get(f"{server.url}/health/ready", timeout=LIMIT_S).status_code == 200
    assert (
        post(server, COMPLETIONS, {"prompt": "a", "max_tokens": 2, "ignore_eos": True})["usage"]["completion_tokens"]
        == 2
    )
    assert server.metrics().value("gemmule_kv_blocks_used") == 0


def check(response: httpx.Response, status: int, code: str, param: str | None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize("name", RAW)
def test_bodies_that_are_no_request(server: Server, name: str) -> None:
    body, status, code, param = RAW[name]
    response = httpx.post(f"{server.url}{COMPLETIONS}", content=body, timeout=LIMIT_S)
    check(response, status, code, param if status == 400 else None)


@pytest.mark.parametrize("stream", [False, True])
def test_completion_fields(server: Server, stream: bool) -> None:
    with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
        for body, code, param in COMPLETION_FIELDS:
            check(client.post(COMPLETIONS, json={"stream": stream, **body}), 400, code, param)


def test_chat_fields(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
        for body, code, param in CHAT_FIELDS:
            check(client.post(CHAT, json=body), 400, code, param)


def test_names_that_nobody_has(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
        check(client.post(COMPLETIONS, json={**GREEDY, "model": "gpt-5"}), 404, "model_not_found", "model")
        check(client.get("/v1/models/gpt-5"), 404, "model_not_found", "model")
        check(client.get("/v3"), 404, "not_found", None)
        check(client.get(COMPLETIONS), 405, "method_not_allowed", None)


def test_text_of_every_kind_is_completed(server: Server) -> None:
    for prompt in ("\0", "é😀\u200d", "\ufffe", "a\ufdd0", "a" * 3000, " " * 3000, "<|im_end|>" * 50, "\x7f\x80"):
        assert post(server, COMPLETIONS, {**GREEDY, "prompt": prompt})["usage"]["completion_tokens"] == 40


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"GET /v3 HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        bytes(range(256)),
    ],
    ids=["tls", "version", "length", "chunk", "path", "bytes"],
)
def test_what_is_no_http(server: Server, raw: bytes) -> None:
    with socket.create_connection(server.host_and_port, LIMIT_S) as connection:
        answer = b""
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                answer += more
        except OSError:  # it has hung up
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:100]


def test_the_error_in_a_stream_that_cannot_begin_is_no_stream(server: Server) -> None:
    response = httpx.post(f"{server.url}{COMPLETIONS}", json={"prompt": [5] * 5000, "stream": True}, timeout=LIMIT_S)
    assert response.status_code == 400
    assert json.loads(response.text)["error"]["message"].startswith(
        "the prompt has 5000 tokens; the context holds 4096"
    )
