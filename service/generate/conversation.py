"""The messages of a conversation as clients write them: OpenAI's names, checked. Knows no template."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.generate.prompt import Chat

MAX_MESSAGES = 4096


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


class Conversation(BaseModel):
    """Messages alone: what is asked of /tokenize and /apply-template, and sent over gRPC."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES, description="Oldest first.")

    def chat(self) -> Chat:
        return chat_of(self.messages)


def chat_of(messages: Iterable[Message]) -> Chat:
    """`developer` is OpenAI's newer word for what every template calls `system`."""
    return Chat(
        tuple(
            {"role": "system" if message.role == "developer" else message.role, "content": message.content}
            for message in messages
        )
    )
