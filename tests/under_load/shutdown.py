"""SIGTERM under full load, and a start after SIGKILL: who was being answered, what is lost, how soon it is back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import uvloop

from loadtest.errors import RequestFailed
from loadtest.http_client import HttpClient
from tests.end_to_end.server import Server, started
from tests.under_load.callers import ask, calling, random_prompt
from tests.under_load.verdict import Verdict

FLAGS = ("--threads", "2", "--ctx", "1024", "--drain-s", "60", "--grpc-port", "off")
NUM_CALLERS, NUM_TOKENS = 32, 64
AS_INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Python keeps what it compiles of our own sources, as it does where nobody forbids it."""
LOAD_S = 3.0


def check(model: str, folder: Path, rounds: int) -> Iterator[Verdict]:
    environment = {**AS_INSTALLED, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    for number in range(rounds):
        with started(model, folder / f"drained-{number}", *FLAGS, **environment) as server:
            server.wait_until_ready()
            num_whole, num_lost, status = uvloop.run(_drain(server, Random(number)))
        print(f"SIGTERM: {num_whole} answered whole, {num_lost} lost, exit status {status}")
        yield Verdict("admitted requests lost at SIGTERM", num_lost, 0)
        yield Verdict("exit status", abs(status), 0)
    for number in range(rounds):
        with started(model, folder / f"killed-{number}", *FLAGS, **environment) as server:
            server.wait_until_ready()
            text = uvloop.run(_kill(server, Random(number)))
        begun_s = time.monotonic()
        with started(model, folder / f"again-{number}", *FLAGS, **environment) as server:
            server.wait_until_ready()
            ready_s = time.monotonic() - begun_s
            same = uvloop.run(_answer(server, Random(number))) == text
            server.signal(signal.SIGTERM)
            server.wait()
        yield Verdict("from starting the process to ready, after SIGKILL", ready_s, 3.0, unit=" s")
        yield Verdict("answers that differ after it", 0 if same else 1, 0)


async def _drain(server: Server, random: Random) -> tuple[int, int, int]:
    """(answered whole, lost, exit status): of the requests that were admitted; refused ones count as neither."""
    whole = lost = 0
    stopping = False

    async def caller(client: HttpClient, prompts: Random) -> None:
        nonlocal whole, lost
        while not stopping:
            try:
                _, reply = await ask(client, random_prompt(prompts, 128), NUM_TOKENS)
            except RequestFailed as failure:
                refused = str(failure).startswith(("HTTP 503", "ConnectError"))
                lost += not refused
                return
            whole += reply.output_tokens == NUM_TOKENS
            lost += reply.output_tokens != NUM_TOKENS

    async with calling(server) as client:
        callers = [asyncio.ensure_future(caller(client, Random(random.random()))) for _ in range(NUM_CALLERS)]
        await asyncio.sleep(LOAD_S)
        server.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        async with httpx.AsyncClient() as probe:
            readiness = (await probe.get(f"{server.url}/health/ready")).status_code
        assert readiness == 503, f"/health/ready says {readiness} while draining"
        stopping = True
        await asyncio.gather(*callers)
    return whole, lost, await asyncio.to_thread(server.wait)


async def _answer(server: Server, random: Random) -> str:
    async with calling(server) as client:
        return (await ask(client, random_prompt(random, 128), NUM_TOKENS))[1].text


async def _kill(server: Server, random: Random) -> str:
    """An answer, then the end while others are being made."""
    text = await _answer(server, random)
    async with calling(server) as client:
        callers = [asyncio.ensure_future(ask(client, random_prompt(random, 128), 256)) for _ in range(NUM_CALLERS)]
        await asyncio.sleep(1.0)
        server.kill()
        await asyncio.gather(*callers, return_exceptions=True)
    return text
