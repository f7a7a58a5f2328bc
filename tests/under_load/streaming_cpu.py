"""CPU time of a server under streaming load, outside the threads that compute, by streamed token. Linux only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median

from tests.end_to_end.server import Server, served
from tests.under_load.callers import ask, calling, random_prompt
from tests.under_load.verdict import Verdict

NUM_CALLERS, NUM_TOKENS, NUM_THREADS = 16, 256, 2
MOST_US = 100.0
"""A tenth of a core for 1,000 tokens/s."""


def check(model: str, folder: Path, rounds: int) -> Iterator[Verdict]:
    with served(model, folder, "--threads", str(NUM_THREADS), "--ctx", "1024", "--no-prefix-cache") as server:
        found = [asyncio.run(_cost_us(server, Random(number))) for number in range(rounds + 1)][1:]
    print(f"by round, us: {', '.join(f'{cost:.0f}' for cost in found)}")
    yield Verdict(
        f"CPU beside the computing threads, by token of {NUM_CALLERS} streams", median(found), MOST_US, unit=" us"
    )


async def _cost_us(server: Server, random: Random) -> float:
    async with calling(server) as client:
        before = _cpu_s(server.pid)
        asks = (ask(client, random_prompt(random, 128), NUM_TOKENS) for _ in range(NUM_CALLERS))
        await asyncio.gather(*asks)
        after = _cpu_s(server.pid)
    spent = sorted(seconds - before.get(thread, 0.0) for thread, seconds in after.items())
    # The engine thread and its team are those that work most, by far.
    return 1e6 * sum(spent[:-NUM_THREADS]) / (NUM_CALLERS * NUM_TOKENS)


def _cpu_s(pid: int) -> dict[str, float]:
    """User and system time by thread."""
    ticks = os.sysconf("SC_CLK_TCK")
    spent = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = task.joinpath("stat").read_text().rpartition(")")[2].split()
        spent[task.name] = (int(fields[11]) + int(fields[12])) / ticks
    return spent
