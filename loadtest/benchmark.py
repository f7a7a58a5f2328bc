"""One server under one load: ready, warm-up, run, figures. Knows no command line and no screen."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

import numpy as np

from loadtest.client import Client
from loadtest.load import Load, Observer, Run
from loadtest.prompts import Source
from loadtest.record import Record
from loadtest.slo import Goodput
from loadtest.summary import PERCENTILES, Summary, summarise

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to a server; the same plan and seed send the same requests at the same times."""

    source: Source
    num_warmups: int = 2
    ready_s: float = 60.0
    seed: int = 0
    goodput: Goodput | None = None
    percentiles: Sequence[float] = PERCENTILES


@dataclass(frozen=True, slots=True)
class Result:
    """A run's figures, and what they were made from."""

    load: Load
    summary: Summary
    records: Sequence[Record]


async def measure(
    client: Client,
    plan: Plan,
    load: Load,
    *,
    clock: Clock,
    cpu_clock: Clock = time.process_time,
    observer: Observer = lambda record: None,
) -> Result:
    """Raises Unreachable when the server does not become ready."""
    model = await client.ready(plan.ready_s)
    await _warm_up(client, plan, clock)
    conversations = plan.source.conversations(np.random.default_rng(plan.seed))
    begun_cpu_s = cpu_clock()
    records = await Run(client, clock, observer).run(load, conversations, np.random.default_rng([plan.seed, 1]))
    cpu_s = cpu_clock() - begun_cpu_s
    figures = summarise(records, goodput=plan.goodput, percentiles=plan.percentiles)
    duration_s = figures["duration"]
    head = {
        "date": datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "openai",
        "base_url": client.url,
        "model_id": model,
        "num_prompts": load.num_conversations,
        "max_concurrency": load.concurrency,
        "request_rate": _rate(load),
        "burstiness": load.arrivals.burstiness if load.arrivals else None,
        "client_cpu_cores": cpu_s / duration_s if duration_s else 0.0,
    }
    return Result(load, {**head, **figures}, records)


async def _warm_up(client: Client, plan: Plan, clock: Clock) -> None:
    """Other prompts than the run's, so that no prefix is left from them."""
    if plan.num_warmups < 1:
        return
    warm = plan.source.conversations(np.random.default_rng([plan.seed, 2]))
    firsts = (replace(conversation, turns=conversation.turns[:1]) for conversation in islice(warm, plan.num_warmups))
    load = Load(plan.num_warmups, concurrency=min(plan.num_warmups, 8))
    await Run(client, clock).run(load, firsts, np.random.default_rng(plan.seed))
    # What the warm-up left behind (connections, reports) is not the run's.
    await asyncio.sleep(0)


def _rate(load: Load) -> float | str | None:
    """vLLM writes an infinite rate as a word, for JSON has none."""
    if load.arrivals is None:
        return None
    if load.arrivals.ramp is not None:
        return f"{load.arrivals.ramp.start_rps:g}..{load.arrivals.ramp.end_rps:g}"
    return load.arrivals.rate if load.arrivals.rate != float("inf") else "inf"
