"""What there is to complete: text, token ids or a conversation -> token ids. Knows no engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.errors import BadRequest
from service.generate.tool_format import knows_tools, told_of_tools
from service.tokenizer import ChatTemplate, Tokenizer


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, to be continued by an answer."""

    messages: tuple[Mapping[str, Any], ...]
    """Each with a role and a content, oldest first."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Functions that the answer may call."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What else the template is told."""


Prompt = str | Sequence[int] | Chat


def encode_prompt(
    prompt: Prompt, tokenizer: Tokenizer, chat_template: ChatTemplate | None, add_special: bool = True
) -> tuple[int, ...]:
    """Token ids, none for an empty text without a begin token. BadRequest if there is no way to say it.

    `add_special`: a text begins with the model's begin token, where it has one; a conversation has it anyway.
    """
    match prompt:
        case Chat():
            # The template writes the control tokens, the begin of text among them, by their names.
            ids = tokenizer.encode(render_chat(prompt, chat_template), add_special=False, parse_special=True)
        case str():
            ids = tokenizer.encode(prompt, add_special=add_special, parse_special=True)
        case _:
            check_token_ids(prompt, tokenizer, param="prompt")
            ids = list(prompt)
    return tuple(ids)


def render_chat(chat: Chat, chat_template: ChatTemplate | None) -> str:
    """The conversation as one text, up to where the answer begins. BadRequest if the model has no way to say it."""
    if chat_template is None:
        raise BadRequest("this model has no chat template: it completes text, but cannot chat", param="messages")
    messages: Sequence[Mapping[str, Any]] = chat.messages
    variables = dict(chat.variables)
    if knows_tools(chat_template.source):
        variables |= {"tools": list(chat.tools)} if chat.tools else {}
    else:
        messages = told_of_tools(messages, chat.tools)
    return chat_template.render(messages, add_generation_prompt=True, **variables)


def check_token_ids(token_ids: Sequence[int], tokenizer: Tokenizer, *, param: str) -> None:
    for index, token_id in enumerate(token_ids):
        if not 0 <= token_id < tokenizer.vocab_size:
            raise BadRequest(
                f"token {index} of the {param} is {token_id}; the vocabulary has {tokenizer.vocab_size} tokens",
                param=param,
            )


def num_chars(prompt: Prompt) -> int:
    """About how much text there is to encode."""
    match prompt:
        case Chat():
            return sum(len(str(part)) for part in (*prompt.messages, *prompt.tools))
        case str():
            return len(prompt)
        case _:
            return 0
