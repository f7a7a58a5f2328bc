"""Callers that ask, leave, err and overflow the queue, and what must hold meanwhile. Knows no model."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx

from tests.end_to_end.server import LIMIT_S, Server
from tests.soak.workload import MALFORMED, questions, text_of

CANCELLED, BROKEN, STREAMED = 0.30, 0.05, 0.5
"""Shares of the requests."""
NUM_CALLERS = 40
MOST_GROWTH = 0.02
"""Of resident memory, after the first quarter of the time."""


class Soak:
    def __init__(self, server: Server, seconds: float, seed: int) -> None:
        self._server = server
        self._seconds = seconds
        self._random = Random(seed)
        self._questions = questions()
        self._expected: dict[int, str] = {}
        self.outcomes: Counter[str] = Counter()
        self._proc = Path(f"/proc/{server.pid}")
        self._memory_kib: list[int] = []

    async def run(self) -> None:
        """Raises AssertionError for whatever does not hold."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=NUM_CALLERS)
        async with httpx.AsyncClient(base_url=self._server.url, timeout=LIMIT_S, limits=limits) as client:
            for number, question in enumerate(self._questions):
                answer = (await client.post(question.path, json=question.body)).json()
                self._expected[number] = text_of(answer["choices"][0])
            await self._load(client, min(10.0, 0.2 * self._seconds))
        threads, files = await self._idle()
        async with httpx.AsyncClient(base_url=self._server.url, timeout=LIMIT_S, limits=limits) as client:
            sampling = asyncio.create_task(self._sample_memory())
            await self._load(client, self._seconds)
            sampling.cancel()
        assert await self._idle() == (threads, files), "threads or files are left behind"

    def check_memory(self) -> tuple[int, int]:
        """Resident KiB in the second quarter of the time and in the last."""
        quarter = len(self._memory_kib) // 4
        assert quarter, "too short to say anything about memory"
        before, after = median(self._memory_kib[quarter : 2 * quarter]), median(self._memory_kib[-quarter:])
        assert after <= (1 + MOST_GROWTH) * before, f"resident memory grew from {before} to {after} KiB"
        return int(before), int(after)

    async def _load(self, client: httpx.AsyncClient, seconds: float) -> None:
        end_s = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as callers:
            for _ in range(NUM_CALLERS):
                callers.create_task(self._call(client, end_s))

    async def _call(self, client: httpx.AsyncClient, end_s: float) -> None:
        random = Random(self._random.random())
        while asyncio.get_running_loop().time() < end_s:
            number = random.randrange(len(self._questions))
            if random.random() < BROKEN:
                outcome = await self._err(client, random)
            elif random.random() < CANCELLED:
                outcome = await self._leave(client, number, random)
            elif random.random() < STREAMED:
                outcome = await self._stream(client, number, None)
            else:
                outcome = await self._ask(client, number)
            self.outcomes[outcome] += 1
            if outcome == "refused":
                await asyncio.sleep(random.random())

    async def _err(self, client: httpx.AsyncClient, random: Random) -> str:
        path, body = random.choice(MALFORMED)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = await client.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code in (400, 404, 422), (body, response.text)
        return "malformed"

    async def _ask(self, client: httpx.AsyncClient, number: int) -> str:
        question = self._questions[number]
        response = await client.post(question.path, json=question.body)
        if response.status_code == 503:
            return refused(response.headers, response.json())
        assert response.status_code == 200, response.text
        assert text_of(response.json()["choices"][0]) == self._expected[number], f"question {number} got another answer"
        return "whole"

    async def _leave(self, client: httpx.AsyncClient, number: int, random: Random) -> str:
        """At a random moment, or after a few chunks."""
        if random.random() < 0.5:
            return await self._stream(client, number, random.randrange(1, 6))
        try:
            async with asyncio.timeout(random.expovariate(5.0)):
                return await self._ask(client, number)
        except TimeoutError:
            return "cancelled"

    async def _stream(self, client: httpx.AsyncClient, number: int, most: int | None) -> str:
        """`most`: chunks to read before leaving; None reads to the end."""
        question = self._questions[number]
        text, num_chunks = "", 0
        async with client.stream("POST", question.path, json={**question.body, "stream": True}) as response:
            if response.status_code == 503:
                return refused(response.headers, json.loads(await response.aread()))
            assert response.status_code == 200, await response.aread()
            lines: AsyncGenerator[str, None] = response.aiter_lines()  # type: ignore[assignment]
            async with aclosing(lines):
                async for line in lines:
                    if line == "data: [DONE]":
                        assert text == self._expected[number], f"question {number} got another stream"
                        return "streamed"
                    if line.startswith("data: "):
                        chunk = json.loads(line.removeprefix("data: "))
                        assert "error" not in chunk, chunk
                        text += text_of(chunk["choices"][0])
                        assert self._expected[number].startswith(text), f"question {number} got another stream"
                        num_chunks += 1
                        if num_chunks == most:
                            return "cancelled"
        raise AssertionError(f"the stream of question {number} has no end")

    async def _idle(self) -> tuple[int, int]:
        """Threads and open files once nothing is under way."""
        await asyncio.to_thread(self._server.wait_for_metric, "gemmule_kv_blocks_used", 0)
        await asyncio.to_thread(self._server.wait_for_metric, "gemmule_requests_waiting", 0)
        await asyncio.sleep(2.5)  # the idle engine checks its books every second; connections are closed
        return len(list(self._proc.joinpath("task").iterdir())), len(list(self._proc.joinpath("fd").iterdir()))

    async def _sample_memory(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 200)
            status = self._proc.joinpath("status").read_text()
            (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
            self._memory_kib.append(int(line.split()[1]))


def refused(headers: Any, body: dict[str, Any]) -> str:
    assert body["error"]["code"] == "queue_full", body
    assert int(headers["retry-after"]) >= 1, headers
    return "refused"
