"""The body of POST /v1/chat/completions: OpenAI's names. Knows no template."""

from typing import ClassVar

from pydantic import Field, model_validator

from service.engine.request import SamplingParams
from service.errors import Unsupported
from service.generate.conversation import Message, chat_of
from service.generate.options import MAX_COUNT
from service.generate.prompt import Chat
from service.http.sampling_fields import SamplingFields


class ChatRequest(SamplingFields):
    HARMLESS: ClassVar[frozenset[str]] = SamplingFields.HARMLESS | {"parallel_tool_calls", "prediction"}
    REFUSED: ClassVar[dict[str, tuple[object, ...]]] = SamplingFields.REFUSED | {
        "audio": (),
        "function_call": ("none",),
        "functions": ([],),
        "modalities": (["text"],),
        "moderation": (),
        "reasoning_effort": ("none",),
        "response_format": ({"type": "text"},),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "verbosity": ("medium",),
        "web_search_options": (),
    }

    messages: list[Message] = Field(min_length=1, max_length=4096, description="The conversation, oldest first.")
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Tokens to generate; what the context leaves if not given."
    )
    max_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="The older name of max_completion_tokens.")
    logprobs: bool | None = Field(None, description="Send the log probability of every token.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Alternatives per token; needs logprobs.")

    @model_validator(mode="after")
    def _agree(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise Unsupported("'top_logprobs' needs 'logprobs': true", param="top_logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise Unsupported("'max_tokens' and 'max_completion_tokens' differ; give one", param="max_tokens")
        return self

    def sampling_params(self) -> SamplingParams:
        max_tokens = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return self.sampling(max_tokens, (self.top_logprobs or 0) if self.logprobs else None)

    def chat(self) -> Chat:
        return chat_of(self.messages)
