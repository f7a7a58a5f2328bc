"""The load of a rehearsal: callers in a closed loop until told to stop, or a number of conversations. Knows no Ray."""

import asyncio
from collections.abc import Iterator

import numpy as np

from loadtest.conversation import Conversation
from loadtest.http_client import HttpClient
from loadtest.load import Load, Run
from loadtest.prompts import Lengths, Synthetic
from loadtest.record import Record

TOKEN_IDS = (1000, 30000)
ENDLESS = 10**9
READY_S, REQUEST_S = 60.0, 180.0


async def answered(
    url: str,
    source: Synthetic,
    concurrency: int,
    *,
    num_conversations: int = ENDLESS,
    until: asyncio.Event | None = None,
    chat: bool = False,
    seed: int = 0,
) -> list[Record]:
    clock = asyncio.get_running_loop().time
    body = {"temperature": 0.0, "ignore_eos": True}
    client = HttpClient(url, clock=clock, chat=chat, body=body, timeout_s=REQUEST_S)
    conversations = source.conversations(np.random.default_rng(seed))

    def until_told() -> Iterator[Conversation]:
        while until is None or not until.is_set():
            yield next(conversations)

    try:
        await client.ready(READY_S)
        load = Load(num_conversations, concurrency=concurrency)
        return await Run(client, clock).run(load, until_told(), np.random.default_rng(seed))
    finally:
        await client.close()


def answers(input_len: int, output_len: int) -> Synthetic:
    """Distinct prompts of random tokens."""
    return Synthetic(Lengths(input_len, output_len), token_ids=TOKEN_IDS)


def chats(input_len: int, output_len: int, num_turns: int) -> Synthetic:
    """Chats that have nothing in common."""
    return Synthetic(Lengths(input_len, output_len), num_turns=num_turns)


def lost(records: list[Record]) -> list[Record]:
    return [record for record in records if not record.is_complete]


def under_way(records: list[Record], moment_s: float) -> int:
    return sum(record.start_s <= moment_s <= record.end_s for record in records)


def hit_rate(records: list[Record]) -> float:
    """Of the prompt tokens of turns that follow another, the share that was found in the KV cache."""
    later = [record for record in records if record.is_complete and record.turn > 0]
    return sum(record.cached_tokens for record in later) / max(1, sum(record.prompt_tokens for record in later))


def prefill_tokens_per_s(records: list[Record]) -> float:
    span_s = max(record.end_s for record in records) - min(record.start_s for record in records)
    return sum(record.prompt_tokens for record in records if record.is_complete) / span_s


def decode_tokens_per_s(records: list[Record]) -> float:
    span_s = max(record.end_s for record in records) - min(record.start_s for record in records)
    return sum(record.output_tokens for record in records if record.is_complete) / span_s
