"""Requests that begin alike: how much of the beginning is found, what that saves, and that nobody computes it twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median

import uvloop

from loadtest.http_client import HttpClient
from tests.end_to_end.server import Server, served
from tests.under_load.callers import ask, calling, random_prompt
from tests.under_load.verdict import Verdict

SHARED, OWN, NUM_REQUESTS = 512, 32, 32
FLAGS = ("--threads", "2", "--ctx", "1024")


def check(model: str, folder: Path, rounds: int) -> Iterator[Verdict]:
    with (
        served(model, folder / "with", *FLAGS) as caching,
        served(model, folder / "without", *FLAGS, "--no-prefix-cache") as computing,
    ):
        hits, ratios, twice = uvloop.run(_all(caching, computing, rounds))
    yield Verdict("share of the shared tokens that were found", min(hits), 0.95, is_most=False)
    yield Verdict("TTFT p50 without the cache, times that with it", median(ratios), 5, is_most=False)
    yield Verdict(f"of {NUM_REQUESTS} cold arrivals, those that computed the shared part", max(twice), 1)


async def _all(caching: Server, computing: Server, rounds: int) -> tuple[list[float], list[float], list[int]]:
    hits, ratios, computed = [], [], []
    async with calling(caching) as with_cache, calling(computing) as without:
        for number in range(rounds):
            random = Random(number)
            shared = random_prompt(random, SHARED)
            prompts = [shared + random_prompt(random, OWN) for _ in range(NUM_REQUESTS + 1)]
            await ask(with_cache, prompts[0], 1)
            waits, found = await _one_by_one(with_cache, prompts[1:])
            longer_waits, _ = await _one_by_one(without, prompts[1:])
            hits.append(sum(found) / (NUM_REQUESTS * SHARED))
            ratios.append(median(longer_waits) / median(waits))
            print(f"TTFT p50 {1e3 * median(waits):.1f} ms with, {1e3 * median(longer_waits):.1f} ms without the cache")
            cold = random_prompt(random, SHARED)
            arrivals = [ask(with_cache, cold + random_prompt(random, OWN), 4) for _ in range(NUM_REQUESTS)]
            replies = [reply for _, reply in await asyncio.gather(*arrivals)]
            computed.append(sum(reply.cached_tokens < SHARED for reply in replies))
    return hits, ratios, computed


async def _one_by_one(client: HttpClient, prompts: list[tuple[int, ...]]) -> tuple[list[float], list[int]]:
    """Times to the first token, prompt tokens that were found."""
    waits, found = [], []
    for prompt in prompts:
        sent_s, reply = await ask(client, prompt, 4)
        waits.append(reply.chunk_s[0] - sent_s)
        found.append(min(SHARED, reply.cached_tokens))
    return waits, found
