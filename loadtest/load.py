"""Sends conversations to a server, in a closed or an open loop, and returns what became of each request.

Knows no protocol, no statistics. The clock is given, and waiting is asyncio's: on a loop with virtual time a run is
exact arithmetic.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice, takewhile

import numpy as np

from loadtest.arrivals import Arrivals
from loadtest.client import Client
from loadtest.conversation import Ask, Conversation
from loadtest.errors import BadLoad, RequestFailed
from loadtest.record import Record

Observer = Callable[[Record], object]


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop of `concurrency` callers, or with `arrivals` an open one, whose requests wait for each other only
    beyond `concurrency`. It ends after `num_conversations` or, if given, `duration_s`; what is under way ends too."""

    num_conversations: int
    concurrency: int | None = None
    arrivals: Arrivals | None = None
    duration_s: float | None = None
    think_s: float = 0.0

    def __post_init__(self) -> None:
        if self.concurrency is None and self.arrivals is None:
            raise BadLoad("a load has a concurrency, a rate or both")
        if self.concurrency is not None and self.concurrency < 1:
            raise BadLoad(f"concurrency is at least 1, not {self.concurrency}")
        if self.num_conversations < 1:
            raise BadLoad(f"at least 1 request, not {self.num_conversations}")
        if self.duration_s is not None and not self.duration_s > 0:
            raise BadLoad(f"a duration is above 0 s, not {self.duration_s}")
        if self.duration_s is not None and self.arrivals is not None and math.isinf(self.arrivals.rate):
            raise BadLoad("an infinite rate needs a number of requests, not a duration")


class Run:
    """One run of a load on one server."""

    def __init__(self, client: Client, clock: Callable[[], float], observer: Observer = lambda record: None) -> None:
        self._client = client
        self._clock = clock
        self._observer = observer
        self._indices = count()
        self._records: list[Record] = []
        self._begun_s = 0.0

    async def run(self, load: Load, conversations: Iterator[Conversation], rng: np.random.Generator) -> list[Record]:
        """Records in the order of sending; times count from the start of the run."""
        self._begun_s = self._clock()
        if load.arrivals is None:
            await self._closed(load, conversations)
        else:
            await self._open(load, load.arrivals, conversations, rng)
        return sorted(self._records, key=lambda record: record.index)

    async def _closed(self, load: Load, conversations: Iterator[Conversation]) -> None:
        assert load.concurrency is not None
        limit = None if load.duration_s is not None else load.num_conversations
        left = enumerate(islice(conversations, limit))

        async def caller() -> None:
            for number, conversation in left:
                if load.duration_s is not None and self._now_s() >= load.duration_s:
                    return
                await self._converse(number, conversation, self._now_s(), load.think_s)

        await _all(caller() for _ in range(load.concurrency))

    async def _open(
        self, load: Load, arrivals: Arrivals, conversations: Iterator[Conversation], rng: np.random.Generator
    ) -> None:
        if load.duration_s is None:
            times: Iterable[float] = arrivals.times(load.num_conversations, rng)
        else:
            duration_s = load.duration_s
            times = takewhile(lambda due_s: due_s < duration_s, arrivals.until(duration_s, rng))
        places = asyncio.Semaphore(load.concurrency) if load.concurrency is not None else None

        async def arrival(number: int, conversation: Conversation, due_s: float) -> None:
            if places is None:
                await self._converse(number, conversation, due_s, load.think_s)
            else:
                async with places:
                    await self._converse(number, conversation, due_s, load.think_s)

        async with asyncio.TaskGroup() as tasks:
            for number, (due_s, conversation) in enumerate(zip(times, conversations, strict=False)):
                # Against the clock, not after the last one: a late client must not lower the rate.
                await asyncio.sleep(max(0.0, due_s - self._now_s()))
                tasks.create_task(arrival(number, conversation, due_s))

    async def _converse(self, number: int, conversation: Conversation, due_s: float, think_s: float) -> None:
        """Turn by turn; a failed turn ends the conversation."""
        history = () if conversation.system is None else (("system", conversation.system),)
        for turn_number, turn in enumerate(conversation.turns):
            record = await self._ask(Ask(turn, history), number, turn_number, due_s)
            self._records.append(record)
            self._observer(record)
            if not record.is_complete:
                return
            history = (*history, ("user", str(turn.prompt)), ("assistant", record.text))
            if think_s and turn_number + 1 < len(conversation.turns):
                await asyncio.sleep(think_s)
            due_s = self._now_s()

    async def _ask(self, ask: Ask, conversation: int, turn: int, due_s: float) -> Record:
        index = next(self._indices)
        start_s = self._now_s()
        try:
            reply = await self._client.ask(ask)
        except RequestFailed as error:
            return Record(index, conversation, turn, due_s, start_s, self._now_s(), error=str(error))
        return Record(
            index,
            conversation,
            turn,
            due_s,
            start_s,
            reply.end_s - self._begun_s,
            chunk_s=tuple(moment - self._begun_s for moment in reply.chunk_s),
            prompt_tokens=reply.prompt_tokens,
            cached_tokens=reply.cached_tokens,
            output_tokens=reply.output_tokens,
            text=reply.text,
        )

    def _now_s(self) -> float:
        return self._clock() - self._begun_s


async def _all(callers: Iterable[Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(caller)  # type: ignore[arg-type]
