"""Resident memory while every place is taken and the KV cache is full, beside what it is made of. Knows no request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import uvloop

from tests.end_to_end.server import Server, served
from tests.under_load.callers import ask, calling, random_prompt
from tests.under_load.verdict import Verdict

NUM_CALLERS, MIB = 32, 1 << 20
FLAGS = ("--threads", "2", "--ctx", "2048", "--max-batch", str(NUM_CALLERS), "--kv-memory", "512MiB")
MOST_BESIDE_MIB = 300


def check(model: str, folder: Path, rounds: int) -> Iterator[Verdict]:
    with served(model, folder, *FLAGS) as server:
        for number in range(rounds):
            uvloop.run(_load(server, Random(number)))
        metrics = server.metrics()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
    most = int(status["VmHWM"].split()[0]) / 1024
    weights, cache = (metrics.value(f"gemmule_{name}_bytes") / MIB for name in ("weights", "kv_capacity"))
    used = metrics.value("gemmule_kv_blocks_cached") / metrics.value("gemmule_kv_blocks_capacity")
    print(
        f"most resident {most:.0f} MiB; packed weights {weights:.0f}, KV cache {cache:.0f}, {100 * used:.0f}% written"
    )
    yield Verdict("resident beside weights and KV cache", most - weights - cache, MOST_BESIDE_MIB, unit=" MiB")
    yield Verdict("share of the KV cache that was written", used, 0.9, is_most=False)


async def _load(server: Server, random: Random) -> None:
    """As many tokens as the cache holds, and more."""
    async with calling(server) as client:
        prompts = [random_prompt(random, 900) for _ in range(NUM_CALLERS)]
        await asyncio.gather(*(ask(client, prompt, 32) for prompt in prompts))
