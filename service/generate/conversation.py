"""The messages of a conversation as clients write them: OpenAI's names, checked. Knows no template."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.generate.prompt import Chat
from service.generate.tools import Name, Tool

MAX_MESSAGES = 4096


def _text(value: Any) -> Any:
    """A string, or a list of text parts, -> one string."""
    if value is None or isinstance(value, str):
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


class CalledFunction(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    arguments: str = Field(description="JSON.")


class ToolCall(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: str
    type: Literal["function"]
    function: CalledFunction
    index: int | None = None

    def for_template(self) -> dict[str, Any]:
        """Templates write the arguments themselves."""
        try:
            arguments = json.loads(self.function.arguments)
        except (ValueError, RecursionError):
            arguments = self.function.arguments
        return {"id": self.id, "type": "function", "function": {"name": self.function.name, "arguments": arguments}}


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_text)] = Field(None, description="Text, or a list of text parts.")
    name: str | None = Field(None, description="Of who speaks; most templates do not show it.")
    tool_calls: list[ToolCall] | None = Field(None, max_length=128, description="Of an assistant.")
    tool_call_id: str | None = Field(None, description="Of a tool: which call this answers.")
    reasoning_content: str | None = Field(None, description="Of an assistant; some templates show it.")
    refusal: str | None = Field(None, description="Accepted; not shown.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("'content' must be a string or a list of text parts")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("'tool_calls' are an assistant's")
        return self

    def for_template(self) -> dict[str, Any]:
        """`developer` is OpenAI's newer word for what every template calls `system`."""
        shown: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role}
        shown["content"] = self.content or ""
        for name in ("name", "tool_call_id", "reasoning_content"):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        if self.tool_calls:
            shown["tool_calls"] = [call.for_template() for call in self.tool_calls]
        return shown


class Conversation(BaseModel):
    """Messages alone: what is asked of /tokenize and /apply-template, and sent over gRPC."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES, description="Oldest first.")

    def chat(self) -> Chat:
        return chat_of(self.messages)


def chat_of(messages: Iterable[Message], tools: Iterable[Tool] = (), variables: dict[str, Any] | None = None) -> Chat:
    return Chat(
        tuple(message.for_template() for message in messages),
        tuple(tool.for_template() for tool in tools),
        variables or {},
    )
