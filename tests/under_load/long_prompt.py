"""A long prompt arrives while streams decode: how it stretches their tokens, and they its time. Knows no scheduler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median

import uvloop

from tests.end_to_end.server import Server, served
from tests.under_load.callers import EndlessStream, ask, calling, random_prompt
from tests.under_load.verdict import Verdict, p95

NUM_STREAMS, STREAM_PROMPT, LONG_PROMPT = 8, 128, 4000
MOST_TOKENS = 6000
"""Of a stream: more than come while the long prompt is computed."""
CALM_S = 2.0
"""Of the streams alone, before the long prompt and after it: their contexts grow meanwhile, and a token with them."""
MOST_STRETCH, MOST_TIME = 2.0, 2.2


def check(model: str, folder: Path, rounds: int) -> Iterator[Verdict]:
    with served(model, folder, "--threads", "2", "--ctx", "8192", "--no-prefix-cache") as server:
        found = uvloop.run(_all(server, rounds))
    for gap_before, gap_during, gap_after, alone_s, beside_s in found:
        print(
            f"inter-token p95 {1e3 * gap_before:.1f} ms, {1e3 * gap_during:.1f} ms, then {1e3 * gap_after:.1f} ms; "
            f"prompt alone {alone_s:.2f} s, beside the streams {beside_s:.2f} s"
        )
    stretches = [2 * during / (before + after) for before, during, after, _, _ in found]
    times = [beside / alone for *_, alone, beside in found]
    yield Verdict(f"inter-token p95 of {NUM_STREAMS} streams, times that around it", median(stretches), MOST_STRETCH)
    yield Verdict(f"prompt of {LONG_PROMPT} tokens, times its time alone", median(times), MOST_TIME)


async def _all(server: Server, rounds: int) -> list[tuple[float, ...]]:
    await _round(server, Random(0), LONG_PROMPT // 4)  # warms up
    return [await _round(server, Random(number + 1), LONG_PROMPT) for number in range(rounds)]


async def _round(server: Server, random: Random, long_tokens: int) -> tuple[float, ...]:
    async with calling(server) as client:
        clock = time.monotonic
        alone = []
        for _ in range(2):
            sent_s, reply = await ask(client, random_prompt(random, long_tokens), 1)
            alone.append(reply.chunk_s[0] - sent_s)
        streams = [EndlessStream(server, random_prompt(random, STREAM_PROMPT), MOST_TOKENS) for _ in range(NUM_STREAMS)]
        while any(len(stream.chunk_s) < 8 for stream in streams):
            await asyncio.sleep(0.05)
        calm_s = clock()
        await asyncio.sleep(CALM_S)
        sent_s, reply = await ask(client, random_prompt(random, long_tokens), 1)
        first_s = reply.chunk_s[0]
        await asyncio.sleep(CALM_S)
        end_s = clock()
        for stream in streams:
            await stream.leave()
    before = [gap for stream in streams for gap in stream.gaps_within(calm_s, sent_s)]
    during = [gap for stream in streams for gap in stream.gaps_within(sent_s, first_s)]
    after = [gap for stream in streams for gap in stream.gaps_within(first_s, end_s)]
    return p95(before), p95(during), p95(after), median(alone), first_s - sent_s
