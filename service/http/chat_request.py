"""The body of POST /v1/chat/completions: OpenAI's names. Knows no template."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.engine.request import SamplingParams
from service.errors import Unsupported
from service.generate.options import MAX_COUNT
from service.generate.prompt import Chat
from service.http.sampling_fields import SamplingFields


def _text(value: Any) -> Any:
    """A string, or a list of text parts, -> one string."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of text parts")
    texts = []
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text":
            raise ValueError(f"part {index} is not of the type 'text', the only one supported")
        if set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise ValueError(f"part {index} must hold 'type' and 'text', a string, and nothing else")
        texts.append(part["text"])
    return "".join(texts)


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text)] = Field(description="Text, or a list of text parts.")
    name: str | None = Field(None, description="Accepted; templates do not show it.")


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
        """`developer` is OpenAI's newer word for what every template calls `system`."""
        return Chat(
            tuple(
                {"role": "system" if message.role == "developer" else message.role, "content": message.content}
                for message in self.messages
            )
        )
