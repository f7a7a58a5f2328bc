"""The choices of one response: generations that run side by side, are read together and closed together."""

import asyncio
import builtins
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from service.errors import BadRequest
from service.generate.generator import Generation, Generator
from service.generate.request import GenerationRequest
from service.generate.text import TextEvent


class Choices:
    def __init__(self, forget: Callable[[], object]) -> None:
        self._forget = forget
        self._generations: list[Generation] = []

    @classmethod
    async def admit(cls, generator: Generator, id: str, requests: Sequence[GenerationRequest]) -> "Choices":
        """All of them, or the error that refuses one and none at all.

        `id` is what the whole response can be aborted by until it is closed. BadRequest if it is in use.
        """
        open_requests = generator.open_requests
        choices = cls(lambda: open_requests.pop(id, None))
        if id in open_requests:
            raise BadRequest(f"a request called {id[:100]!r} is open already", param="request_id")
        open_requests[id] = choices.abort
        try:
            encoded: dict[int, tuple[int, ...]] = {}
            for request in requests:
                generator.check_max_tokens(request.sampling)
                # Samples of one prompt share its token ids.
                key = builtins.id(request.prompt)
                known = encoded.get(key)
                generation = await generator.generate(request if known is None else replace(request, prompt=known))
                encoded[key] = generation.prompt_ids
                choices._generations.append(generation)
        except BaseException:
            choices.close()
            raise
        return choices

    def abort(self) -> None:
        """End them at the next step; whoever reads hears of it by the finish reason."""
        for generation in self._generations:
            generation.abort()

    def close(self) -> None:
        """Drop what has not ended: nobody reads on. No effect the second time."""
        self._forget()
        for generation in self._generations:
            generation.close()

    async def collect(self) -> list[TextEvent]:
        """The whole outputs. One is read after the other; they have been running side by side all the while."""
        return [await generation.collect() for generation in self._generations]

    async def events(self) -> AsyncGenerator[tuple[int, TextEvent], None]:
        """(choice, event) as they come."""
        if len(self._generations) == 1:
            async for event in self._generations[0]:
                yield 0, event
            return
        async with aclosing(self._merged()) as merged:
            async for choice, event in merged:
                yield choice, event

    async def _merged(self) -> AsyncGenerator[tuple[int, TextEvent], None]:
        waiting = {
            asyncio.ensure_future(anext(generation)): choice for choice, generation in enumerate(self._generations)
        }
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=waiting.__getitem__):
                    choice = waiting.pop(task)
                    event = task.result()
                    yield choice, event
                    if event.finish_reason is None:
                        waiting[asyncio.ensure_future(anext(self._generations[choice]))] = choice
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
