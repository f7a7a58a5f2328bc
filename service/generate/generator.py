"""The use case: complete a prompt, as a stream of text. Knows neither HTTP nor gRPC, which both call it."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from service.engine.client import EngineClient
from service.engine.request import Request, SamplingParams
from service.engine.stream import TokenStream
from service.errors import ContextOverflow
from service.generate.prompt import Chat, Prompt, encode_prompt, num_chars
from service.generate.text import TextAssembler, TextEvent
from service.tokenizer import ChatTemplate, Tokenizer

INLINE_CHARS = 4096
"""Longer prompts are encoded on another thread: this many take a millisecond or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    id: str
    """Unique among the open requests."""
    prompt: Prompt
    sampling: SamplingParams
    stop: tuple[str, ...] = ()
    """The output ends before the first of these would appear. None is empty."""
    priority: int = 0
    """Lower is earlier."""


class Generator:
    """One model, ready to complete. Lives on the event loop's thread."""

    def __init__(self, client: EngineClient, tokenizer: Tokenizer, chat_template: ChatTemplate | None) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._chat_template = chat_template

    async def generate(self, request: GenerationRequest) -> "Generation":
        """Admit a request; when this returns, it is queued.

        Raises everything that refuses it: BadRequest, ContextOverflow, QueueFull, Draining, NotReady.
        """
        arrival_s = self._client.clock()
        arguments = (request.prompt, self._tokenizer, self._chat_template)
        if num_chars(request.prompt) > INLINE_CHARS:
            prompt_ids = await asyncio.to_thread(encode_prompt, *arguments)
        else:
            prompt_ids = encode_prompt(*arguments)
        assembler = TextAssembler(self._tokenizer, request.sampling, request.stop, len(prompt_ids))
        try:
            stream = self._client.generate(
                Request(
                    id=request.id,
                    prompt_ids=prompt_ids,
                    sampling=request.sampling,
                    arrival_s=arrival_s,
                    priority=request.priority,
                )
            )
        except ContextOverflow as overflow:
            overflow.param = "messages" if isinstance(request.prompt, Chat) else "prompt"
            raise
        return Generation(stream, assembler, len(prompt_ids))


class Generation:
    """An admitted request: an async iterator of text events, which ends after the one with a finish reason.

    Use it as a context manager, or close it: a generation that is left early costs nothing from the next step on.
    Cancelling a task that waits for the next event closes it, too. Raises the engine's error if the engine ends it.
    """

    def __init__(self, stream: TokenStream, assembler: TextAssembler, num_prompt_tokens: int) -> None:
        self._stream = stream
        self._assembler = assembler
        self.num_prompt_tokens = num_prompt_tokens

    async def collect(self) -> TextEvent:
        """The whole output as one event."""
        async with self:
            events = [event async for event in self]
        return TextEvent(
            text="".join(event.text for event in events),
            tokens=tuple(token for event in events for token in event.tokens),
            finish_reason=events[-1].finish_reason,
            usage=events[-1].usage,
        )

    def close(self) -> None:
        """Abort, unless it has ended. No effect the second time."""
        self._stream.close()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextEvent:
        while True:
            tokens = await anext(self._stream)
            if tokens.error is not None:
                raise tokens.error
            event = self._assembler.push(tokens)
            if event is not None:
                if event.finish_reason is not None:
                    self.close()  # a stop string ends it before the engine does
                return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
