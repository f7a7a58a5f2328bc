"""Callers of a server: distinct random prompts, answers of a length, the time of every chunk. Knows no bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import httpx

from loadtest.aiohttp_transport import AiohttpTransport
from loadtest.conversation import Ask, Reply, Turn
from loadtest.http_client import HttpClient
from tests.end_to_end.server import Server

FIRST_ID, BEHIND_ID = 1000, 30000
"""Of most vocabularies ordinary pieces of text."""


def random_prompt(random: Random, num_tokens: int) -> tuple[int, ...]:
    return tuple(random.randrange(FIRST_ID, BEHIND_ID) for _ in range(num_tokens))


@asynccontextmanager
async def calling(server: Server, **body: Any) -> AsyncIterator[HttpClient]:
    """Greedy, and the model does not end an answer. `body`: more fields for every request."""
    clock = time.monotonic
    client = HttpClient(server.url, clock=clock, body={"temperature": 0, "ignore_eos": True, **body})
    try:
        await client.ready(10.0)
        yield client
    finally:
        await client.close()


async def ask(client: HttpClient, prompt: tuple[int, ...] | str, num_tokens: int) -> tuple[float, Reply]:
    """(when it was sent, the reply)"""
    sent_s = time.monotonic()
    return sent_s, await client.ask(Ask(Turn(prompt, num_tokens)))


class EndlessStream:
    """A caller that reads on until it is told to leave; `chunk_s` are the times of what came."""

    def __init__(self, server: Server, prompt: tuple[int, ...], most_tokens: int) -> None:
        self.chunk_s: list[float] = []
        body = {"prompt": prompt, "max_tokens": most_tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        self._task = asyncio.ensure_future(self._read(f"{server.url}/v1/completions", body))

    async def leave(self) -> None:
        assert not self._task.done(), "the stream has ended by itself"
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def gaps_within(self, begin_s: float, end_s: float) -> Iterator[float]:
        """Between the chunks that came in that time."""
        for before, after in pairwise(self.chunk_s):
            if begin_s <= before and after <= end_s:
                yield after - before

    async def _read(self, url: str, body: dict[str, Any]) -> None:
        clock = time.monotonic
        http = httpx.AsyncClient(timeout=60.0, transport=AiohttpTransport())
        async with http, http.stream("POST", url, json=body) as response:
            assert response.status_code == 200, await response.aread()
            async for piece in response.aiter_raw():
                self.chunk_s += [clock()] * piece.count(b"data:")
