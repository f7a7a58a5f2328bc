"""Requests that the end-to-end tests send, and how their answers are read. Knows no server."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tests.end_to_end.server import LIMIT_S

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"

STORY = (
    "Once upon a time there was a small sponge which lived at the bottom of the sea. Every summer it grew a few buds, "
    "and every winter the buds waited in the mud until the water was warm again."
)
GREEDY = {"prompt": STORY, "temperature": 0, "max_tokens": 40, "logprobs": 5, "ignore_eos": True}
SEEDED = {**GREEDY, "temperature": 1.1, "top_p": 0.95, "top_k": 200, "min_p": 0.001, "seed": 1234}


def others(num_requests: int) -> list[dict[str, Any]]:
    """Requests unlike each other: short and long prompts, greedy and drawn, with stops, logprobs and none."""
    return [
        {
            "prompt": (STORY * 9)[: 3 + 97 * index],
            "max_tokens": 20 + 11 * (index % 5),
            "temperature": (0, 0.7, 1.0, 1.7)[index % 4],
            "top_k": (0, 1, 40)[index % 3],
            "top_p": (1.0, 0.9)[index % 2],
            "logprobs": (None, 0, 20)[index % 3],
            "stop": ["zz", "\n\n"] if index % 4 == 0 else None,
            "ignore_eos": True,
        }
        for index in range(num_requests)
    ]


def events_of(text: str) -> list[Any]:
    """The decoded events of a whole stream, which must end with [DONE]."""
    blocks = text.removesuffix("\n\n").split("\n\n")
    assert blocks[-1] == "data: [DONE]", blocks[-1]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


async def stream(client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> list[Any]:
    """The events of a streamed request."""
    response = await client.post(path, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events_of(response.text)


def joined(chunks: Sequence[Any]) -> dict[str, Any]:
    """The chunks of a streamed completion with one choice, put together as the plain response has it."""
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    logprobs = [choice["logprobs"] for choice in choices]
    whole = None
    if logprobs[0] is not None:
        whole = {
            name: None if logprobs[0][name] is None else [entry for part in logprobs for entry in part[name]]
            for name in logprobs[0]
        }
    text = "".join(choice["text"] for choice in choices)
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    return {"index": 0, "text": text, "logprobs": whole, "finish_reason": choices[-1]["finish_reason"]}


async def answers(url: str, bodies: Sequence[Mapping[str, Any]], path: str = COMPLETIONS) -> list[Any]:
    """The choices of requests that run side by side."""
    limits = httpx.Limits(max_connections=len(bodies))
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S, limits=limits) as client:
        responses = await asyncio.gather(*(client.post(path, json=body) for body in bodies))
    for response in responses:
        assert response.status_code == 200, response.text
    return [response.json()["choices"] for response in responses]
