"""Text events -> the bodies of /v1/completions: OpenAI's `text_completion`. Knows no connection."""

import codecs
from collections.abc import Sequence
from dataclasses import replace

from service.engine.request import FinishReason
from service.generate.text import TextEvent, TokenLogprob, Usage
from service.http.usage import timings_body, usage_body

Body = dict[str, object]


class CompletionFormat:
    """One response: the same head in every chunk, and for each choice how far its text has come."""

    def __init__(
        self,
        id: str,
        created_s: int,
        model: str,
        *,
        num_prompts: int,
        num_samples: int,
        logprobs: int | None,
        echoes: Sequence[str] | None = None,
        with_token_ids: bool = False,
        keeps_output: bool = True,
    ) -> None:
        """`echoes`: the prompts, where each is to stand before its completions.

        Without `keeps_output` the prompts alone are sent: a token had to be drawn, but nobody asked for it.
        """
        self._head: Body = {"id": id, "object": "text_completion", "created": created_s, "model": model}
        self._num_samples = num_samples
        num_choices = num_prompts * num_samples
        self._logprobs = None if logprobs is None else [_Logprobs(logprobs) for _ in range(num_choices)]
        self._echoes = (
            {} if echoes is None else {choice: echoes[choice // num_samples] for choice in range(num_choices)}
        )
        self._with_token_ids = with_token_ids
        self._keeps_output = keeps_output

    def response(self, outputs: Sequence[TextEvent], usages: Sequence[Usage]) -> Body:
        outputs, usages = [self._kept(output) for output in outputs], [self._counted(usage) for usage in usages]
        body: Body = {**self._head, "choices": [self._choice(choice, output) for choice, output in enumerate(outputs)]}
        body["usage"] = usage_body(usages, len(usages) // (len(outputs) // self._num_samples))
        return body | ({"timings": timings_body(outputs[0])} if len(outputs) == 1 else {})

    def first_chunks(self) -> list[Body]:
        return []

    def chunk(self, choice: int, event: TextEvent) -> list[Body]:
        event = self._kept(event)
        timings = {} if event.timings is None else {"timings": timings_body(event)}
        return [{**self._head, "choices": [self._choice(choice, event)], **timings}]

    def usage_chunk(self, usages: Sequence[Usage]) -> Body:
        counted = [self._counted(usage) for usage in usages]
        return {**self._head, "choices": [], "usage": usage_body(counted, self._num_samples)}

    def _kept(self, event: TextEvent) -> TextEvent:
        if self._keeps_output:
            return event
        usage = self._counted(event.usage)
        return replace(event, text="", tokens=(), token_ids=(), finish_reason=FinishReason.LENGTH, usage=usage)

    def _counted(self, usage: Usage) -> Usage:
        return usage if self._keeps_output else replace(usage, completion_tokens=0)

    def _choice(self, choice: int, event: TextEvent) -> Body:
        body: Body = {
            "index": choice,
            "text": (echo := self._echoes.pop(choice, "")) + event.text,
            "logprobs": None if self._logprobs is None else self._logprobs[choice].of(event, echo),
            "finish_reason": None if event.finish_reason is None else event.finish_reason.value,
        }
        return body | ({"token_ids": event.token_ids} if self._with_token_ids else {})


class _Logprobs:
    """Lists with an entry a token; `text_offset` counts the characters before it in the choice's whole text."""

    def __init__(self, num_top: int) -> None:
        self._num_top = num_top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_chars = 0

    def of(self, event: TextEvent, echo: str) -> Body:
        """`echo`: the prompt, where it stands before this."""
        offsets = _offsets(event.prompt_tokens, len(echo))
        self._num_chars += len(echo)
        for token in event.tokens:
            offsets.append(self._num_chars)
            if not token.is_hidden:
                self._num_chars += len(self._decoder.decode(token.bytes))
        tokens = (*event.prompt_tokens, *event.tokens)
        return {
            "tokens": [_name(token) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [_top(token) for token in tokens] if self._num_top else None,
            "text_offset": offsets,
        }


def _offsets(tokens: Sequence[TokenLogprob], end: int) -> list[int]:
    """Of the tokens of a text with so many characters, counted from its end: what a tokenizer puts before a text (a
    begin token, a space) stands at 0."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets, num_chars = [], 0
    for token in tokens:
        offsets.append(num_chars)
        num_chars += len(decoder.decode(token.bytes))
    return [max(0, offset + end - num_chars) for offset in offsets]


def _top(token: TokenLogprob) -> dict[str, float] | None:
    """The likeliest, and the token itself even if it is none of them."""
    if token.logprob is None:
        return None
    return {_name(other): other.logprob for other in (*token.top, token) if other.logprob is not None}


def _name(token: TokenLogprob) -> str:
    """The token's text; a part of a character is named by its bytes, so that two parts have two names."""
    try:
        return token.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)
