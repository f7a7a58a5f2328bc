"""Requests and schedulers, of which a test says only what it is about, and how to read a stream."""

from itertools import count
from typing import Any

from service.engine.blocks import BlockPool
from service.engine.draft_model import DraftModel
from service.engine.limits import SchedulerLimits
from service.engine.request import FinishReason, Request, SamplingParams, TokenEvent
from service.engine.scheduler import Scheduler
from service.engine.stream import TokenStream
from tests.service.fakes import EOS, digest_of

_ids = count()


def request(
    num_prompt: int = 4, *, arrival_s: float = 0.0, priority: int = 0, id: str | None = None, **sampling: object
) -> Request:
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 8, **sampling})  # type: ignore[arg-type]
    name = id or f"r{next(_ids)}"
    prompt = tuple(digest_of((position, len(name))) % 256 for position in range(num_prompt))
    return Request(id=name, prompt_ids=prompt, sampling=params, arrival_s=arrival_s, priority=priority)


def scheduler(
    num_blocks: int = 64,
    *,
    max_context: int = 1024,
    max_batch: int = 4,
    token_budget: int = 64,
    draft_model: DraftModel | None = None,
    **more: Any,
) -> Scheduler:
    limits = SchedulerLimits(max_context=max_context, max_batch=max_batch, token_budget=token_budget, **more)
    return Scheduler(BlockPool(num_blocks), limits, {EOS}, draft_model)


async def tokens_of(stream: TokenStream) -> list[int]:
    """All tokens, if the request ends well."""
    tokens: list[int] = []
    last: TokenEvent | None = None
    async for event in stream:
        assert last is None or last.finish_reason is None
        tokens += [token.id for token in event.tokens]
        last = event
    assert last is not None
    assert last.finish_reason in (FinishReason.STOP, FinishReason.LENGTH), last
    return tokens
