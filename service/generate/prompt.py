"""What there is to complete: text, token ids or a conversation -> token ids. Knows no engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.errors import BadRequest
from service.tokenizer import ChatTemplate, Tokenizer


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, to be continued by an answer."""

    messages: tuple[Mapping[str, object], ...]
    """Each with a role and a content, oldest first."""


Prompt = str | Sequence[int] | Chat


def encode_prompt(
    prompt: Prompt, tokenizer: Tokenizer, chat_template: ChatTemplate | None, add_special: bool = True
) -> tuple[int, ...]:
    """At least one id. BadRequest if there is nothing to complete or no way to say it.

    `add_special`: a text begins with the model's begin token, where it has one; a conversation has it anyway.
    """
    match prompt:
        case Chat(messages):
            if chat_template is None:
                raise BadRequest(
                    "this model has no chat template: it completes text, but cannot chat", param="messages"
                )
            text = chat_template.render(messages, add_generation_prompt=True)
            # The template writes the control tokens, the begin of text among them, by their names.
            ids = tokenizer.encode(text, add_special=False, parse_special=True)
        case str():
            ids = tokenizer.encode(prompt, add_special=add_special, parse_special=True)
        case _:
            ids = list(prompt)
            for index, token_id in enumerate(ids):
                if not 0 <= token_id < tokenizer.vocab_size:
                    raise BadRequest(
                        f"token {index} of the prompt is {token_id}; the vocabulary has {tokenizer.vocab_size} tokens",
                        param="prompt",
                    )
    if not ids:
        raise BadRequest(
            "the prompt is empty, and this model has no token that begins a text: there is nothing to complete",
            param="prompt",
        )
    return tuple(ids)


def num_chars(prompt: Prompt) -> int:
    """About how much text there is to encode."""
    match prompt:
        case Chat(messages):
            return sum(len(str(message.get("content"))) for message in messages)
        case str():
            return len(prompt)
        case _:
            return 0
