"""The use case: complete a prompt, as a stream of text. Knows neither HTTP nor gRPC, which both call it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from service.engine.client import EngineClient
from service.engine.request import Request, SamplingParams
from service.engine.stream import TokenStream
from service.errors import BadRequest, ContextOverflow
from service.generate.breakers import Breakers
from service.generate.prompt import Chat, Prompt, check_token_ids, encode_prompt, num_chars, render_chat
from service.generate.request import GenerationRequest
from service.generate.text import TextAssembler, TextEvent, Timings
from service.generate.tool_format import ToolFormat, format_of
from service.request_context import current_context
from service.structured.grammars import Grammars
from service.tokenizer import ChatTemplate, Tokenizer

INLINE_CHARS = 4096
"""Longer prompts are encoded on another thread: this many take a millisecond or two."""


class Generator:
    """One model, ready to complete. Lives on the event loop's thread."""

    def __init__(self, client: EngineClient, tokenizer: Tokenizer, chat_template: ChatTemplate | None) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._chat_template = chat_template
        self._grammars = Grammars(tokenizer)
        self._breakers = Breakers(tokenizer)
        self.open_requests: dict[str, Callable[[], None]] = {}
        """What ends each response that is being made, by the id that its client knows."""

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.vocab_size

    @property
    def eos_ids(self) -> frozenset[int]:
        return self._tokenizer.eos_ids

    @property
    def tool_format(self) -> ToolFormat:
        """How this model calls tools."""
        return format_of("" if self._chat_template is None else self._chat_template.source)

    @property
    def has_chat_template(self) -> bool:
        return self._chat_template is not None

    def abort(self, id: str) -> bool:
        """Whether there was such a response to end."""
        abort = self.open_requests.get(id)
        if abort is not None:
            abort()
        return abort is not None

    def check_max_tokens(self, sampling: SamplingParams) -> None:
        """ContextOverflow where no prompt could leave so much."""
        # Up to the context, what a prompt leaves of it is the limit: `generate` cuts it down to that.
        max_context = self._client.max_context
        if sampling.max_tokens is not None and sampling.max_tokens > max_context:
            raise ContextOverflow(
                f"'max_tokens' is {sampling.max_tokens}; the context holds {max_context} tokens, prompt included",
                param="max_tokens",
            )

    async def tokenize(self, prompt: Prompt, *, add_special: bool = True) -> tuple[int, ...]:
        """The token ids of a prompt, as `generate` would see them; maybe none. Raises BadRequest."""
        arguments = (prompt, self._tokenizer, self._chat_template, add_special)
        if num_chars(prompt) > INLINE_CHARS:
            return await asyncio.to_thread(encode_prompt, *arguments)
        return encode_prompt(*arguments)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of the tokens, special ones by their names. Raises BadRequest."""
        check_token_ids(token_ids, self._tokenizer, param="tokens")
        return self._tokenizer.decode(token_ids, skip_special=False)

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokenizer.token_bytes(token_id)

    async def render(self, chat: Chat) -> str:
        """What the chat template makes of a conversation. Raises BadRequest."""
        return await asyncio.to_thread(render_chat, chat, self._chat_template)

    async def generate(self, request: GenerationRequest) -> "Generation":
        """Admit a request; when this returns, it is queued.

        Raises everything that refuses it: BadRequest, ContextOverflow, QueueFull, Draining, NotReady.
        """
        arrival_s = self._client.clock()
        prompt_ids = await self.tokenize(request.prompt)
        if not prompt_ids:
            raise BadRequest(
                "the prompt is empty, and this model has no token that begins a text: there is nothing to complete",
                param="prompt",
            )
        sampling = self._checked(request)
        if sampling.dry is not None:
            breaker_ids = await asyncio.to_thread(self._breakers.ids, request.dry_breakers)
            sampling = replace(sampling, dry=replace(sampling.dry, breaker_ids=breaker_ids))
        constraint = None
        if request.output_format is not None:
            constraint = await asyncio.to_thread(self._grammars.constraint, request.output_format)
        assembler = TextAssembler(self._tokenizer, sampling, request.stop, prompt_ids)
        try:
            stream = self._client.generate(
                Request(
                    id=request.id,
                    prompt_ids=prompt_ids,
                    sampling=sampling,
                    arrival_s=arrival_s,
                    priority=request.priority,
                    deadline_s=None if request.timeout_s is None else arrival_s + request.timeout_s,
                    cache_salt=request.cache_salt,
                    drafter=request.drafter,
                    constraint=constraint,
                    context=current_context.get(),
                )
            )
        except ContextOverflow as overflow:
            overflow.param = "messages" if isinstance(request.prompt, Chat) else "prompt"
            raise
        return Generation(stream, assembler, prompt_ids, self._client.clock, arrival_s)

    def _checked(self, request: GenerationRequest) -> SamplingParams:
        """With bad words as tokens; every id is one of the vocabulary."""
        sampling = request.sampling
        biased = [token_id for token_id, _ in sampling.logit_bias]
        check_token_ids(biased, self._tokenizer, param="logit_bias")
        check_token_ids(sorted(sampling.allowed_token_ids or ()), self._tokenizer, param="allowed_token_ids")
        if not request.bad_words:
            return sampling
        words: set[tuple[int, ...]] = set()
        for word in request.bad_words:
            # With a space before it a word is another token.
            for text in (word, " " + word.lstrip()):
                words.add(tuple(self._tokenizer.encode(text, add_special=False)))
        return replace(sampling, bad_words=tuple(sorted(words - {()})))


class Generation:
    """An admitted request: an async iterator of text events, which ends after the one with a finish reason.

    Use it as a context manager, or close it: a generation that is left early costs nothing from the next step on.
    Cancelling a task that waits for the next event closes it, too. Raises the engine's error if the engine ends it.
    """

    def __init__(
        self,
        stream: TokenStream,
        assembler: TextAssembler,
        prompt_ids: tuple[int, ...],
        clock: Callable[[], float],
        arrival_s: float,
    ) -> None:
        self._stream = stream
        self._assembler = assembler
        self.prompt_ids = prompt_ids
        self._clock = clock
        self._arrival_s = arrival_s
        self._first_s: float | None = None
        """When the first tokens were heard of."""

    async def collect(self) -> TextEvent:
        """The whole output as one event."""
        async with self:
            events = [event async for event in self]
        return TextEvent(
            text="".join(event.text for event in events),
            tokens=tuple(token for event in events for token in event.tokens),
            finish_reason=events[-1].finish_reason,
            usage=events[-1].usage,
            token_ids=tuple(token_id for event in events for token_id in event.token_ids),
            cumulative_logprob=events[-1].cumulative_logprob,
            timings=events[-1].timings,
            prompt_tokens=events[0].prompt_tokens,
        )

    def abort(self) -> None:
        """End it at the next step: the last event says ABORT."""
        self._stream.abort()

    def close(self) -> None:
        """Drop it, unless it has ended: nothing more is heard. No effect the second time."""
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
            if self._first_s is None:
                self._first_s = self._clock()
            event = self._assembler.push(tokens)
            if event is not None:
                if event.finish_reason is not None:
                    self.close()  # a stop string ends it before the engine does
                    timings = Timings(self._first_s - self._arrival_s, self._clock() - self._first_s)
                    event = replace(event, timings=timings)
                return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
