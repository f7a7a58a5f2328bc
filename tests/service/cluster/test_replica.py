"""The HTTP face without a socket: the same answers, piece by piece, and a reader who leaves frees the engine."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.cluster.call import Call, Head
from service.cluster.replica import EngineReplica


@pytest.fixture
async def replica(tiny_gguf: Path) -> AsyncIterator[EngineReplica]:
    made = EngineReplica({"model": str(tiny_gguf), "threads": 1, "max_batch": 4, "served_name": "tiny"})
    yield made
    await made.close(5.0)


def completion(**fields: object) -> Call:
    body = json.dumps({"prompt": [5, 6, 7], "max_tokens": 8, "temperature": 0, "ignore_eos": True, **fields}).encode()
    headers = ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()))
    return Call("POST", "/v1/completions", b"", headers, body, None)


async def test_it_answers_whole_and_in_pieces(replica: EngineReplica) -> None:
    head, *pieces = [piece async for piece in replica.answer(completion())]
    assert isinstance(head, Head)
    assert head.status == 200
    whole = json.loads(b"".join(piece for piece in pieces if isinstance(piece, bytes)))
    head, *pieces = [piece async for piece in replica.answer(completion(stream=True))]
    lines = b"".join(piece for piece in pieces if isinstance(piece, bytes)).decode().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events if event["choices"]) == whole["choices"][0]["text"]
    assert [line for line in lines if line][-1] == "data: [DONE]"
    assert replica.identity()["model"] == "tiny"
    replica.check_health()


async def test_a_refusal_is_an_answer(replica: EngineReplica) -> None:
    head = await anext(replica.answer(completion(model="another")))
    assert isinstance(head, Head)
    assert head.status == 404


async def test_who_stops_reading_cancels(replica: EngineReplica) -> None:
    answer = replica.answer(completion(stream=True, max_tokens=100))
    assert isinstance(await anext(answer), Head)
    assert isinstance(await anext(answer), bytes)
    await answer.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while replica._engine.stats().num_running:
            await asyncio.sleep(0.01)
