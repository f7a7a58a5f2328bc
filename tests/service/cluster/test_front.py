"""A replica that is lost before its answer began costs nothing; one that is lost later says so."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from service.cluster.call import Call, Head
from service.cluster.front import NUM_TRIES, FrontEnd

STREAM = Head(200, ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"r1")))
BODY = {"prompt": "hello"}


class Lost(Exception):
    pass


class Replicas:
    """Each call is answered by the next script: pieces, or an error in their midst."""

    def __init__(self, *scripts: list[Head | bytes | Exception]) -> None:
        self.scripts = list(scripts)
        self.calls: list[Call] = []

    async def ask(self, call: Call) -> AsyncIterator[Head | bytes]:
        self.calls.append(call)
        for piece in self.scripts[len(self.calls) - 1]:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def client(replicas: Replicas) -> tuple[httpx.AsyncClient, FrontEnd]:
    front = FrontEnd(replicas.ask, lambda error: isinstance(error, Lost), max_body=1000)
    app = Starlette(routes=[Route("/{path:path}", front.answer, methods=["GET", "POST"])])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front"), front


async def test_an_answer_passes_as_it_is() -> None:
    replicas = Replicas([STREAM, b"data: 1\n\n", b"data: [DONE]\n\n"])
    http, _ = client(replicas)
    response = await http.post("/v1/completions?x=1", json=BODY, headers={"authorization": "Bearer k"})
    assert (response.status_code, response.text) == (200, "data: 1\n\ndata: [DONE]\n\n")
    assert response.headers["x-request-id"] == "r1"
    (call,) = replicas.calls
    assert (call.method, call.path, call.query, json.loads(call.body)) == ("POST", "/v1/completions", b"x=1", BODY)
    assert (b"authorization", b"Bearer k") in call.headers
    assert call.affinity is not None


async def test_a_refusal_passes_too() -> None:
    http, _ = client(Replicas([Head(503, ((b"retry-after", b"2"),)), b'{"error": {}}']))
    response = await http.post("/v1/completions", json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize("script", [[Lost()], [STREAM, Lost()]], ids=["before the head", "before the body"])
async def test_what_has_not_begun_is_asked_again(script: list[Head | bytes | Exception]) -> None:
    replicas = Replicas(script, [STREAM, b"data: 1\n\n"])
    http, front = client(replicas)
    response = await http.post("/v1/completions", json=BODY)
    assert (response.status_code, response.text) == (200, "data: 1\n\n")
    assert front.num_retried == 1
    assert replicas.calls[0] == replicas.calls[1]


async def test_a_stream_that_loses_its_replica_says_so() -> None:
    replicas = Replicas([STREAM, b"data: 1\n\n", Lost()])
    http, front = client(replicas)
    events = [line for line in (await http.post("/v1/completions", json=BODY)).text.splitlines() if line]
    assert events[0] == "data: 1"
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "replica_lost"
    assert (front.num_retried, len(replicas.calls)) == (0, 1)


async def test_an_error_that_is_no_loss_is_not_asked_again() -> None:
    replicas = Replicas([ValueError("wrong")])
    http, _ = client(replicas)
    with pytest.raises(ValueError, match="wrong"):
        await http.post("/v1/completions", json=BODY)
    assert len(replicas.calls) == 1


async def test_it_gives_up() -> None:
    replicas = Replicas(*[[Lost()]] * NUM_TRIES)
    http, _ = client(replicas)
    response = await http.post("/v1/completions", json=BODY)
    assert response.status_code == 503
    assert len(replicas.calls) == NUM_TRIES


async def test_what_only_a_replica_can_say_is_refused() -> None:
    http, _ = client(Replicas())
    assert (await http.get("/metrics")).status_code == 404
    assert (await http.post("/v1/completions", content=b"x" * 1001)).status_code == 413


async def test_an_answer_without_a_body() -> None:
    http, _ = client(Replicas([Head(204, ())]))
    assert (await http.get("/health")).status_code == 204
