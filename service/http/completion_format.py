"""Text events -> the bodies of /v1/completions: OpenAI's `text_completion`. Knows no connection."""

import codecs
from collections.abc import Sequence

from service.generate.text import TextEvent, TokenLogprob, Usage
from service.http.usage import usage_body

Body = dict[str, object]


class CompletionFormat:
    """One response: the same head in every chunk, and for each choice how far its text has come."""

    def __init__(self, id: str, created_s: int, model: str, *, num_choices: int, logprobs: int | None) -> None:
        self._head: Body = {"id": id, "object": "text_completion", "created": created_s, "model": model}
        self._logprobs = None if logprobs is None else [_Logprobs(logprobs) for _ in range(num_choices)]

    def response(self, outputs: Sequence[TextEvent]) -> Body:
        choices = [self._choice(choice, output) for choice, output in enumerate(outputs)]
        return {**self._head, "choices": choices, "usage": usage_body(output.usage for output in outputs)}

    def first_chunks(self) -> list[Body]:
        return []

    def chunk(self, choice: int, event: TextEvent) -> Body:
        return {**self._head, "choices": [self._choice(choice, event)]}

    def usage_chunk(self, usages: Sequence[Usage]) -> Body:
        return {**self._head, "choices": [], "usage": usage_body(usages)}

    def _choice(self, choice: int, event: TextEvent) -> Body:
        return {
            "index": choice,
            "text": event.text,
            "logprobs": None if self._logprobs is None else self._logprobs[choice].of(event.tokens),
            "finish_reason": None if event.finish_reason is None else event.finish_reason.value,
        }


class _Logprobs:
    """Lists with an entry a token; `text_offset` counts the characters before it in the choice's whole text."""

    def __init__(self, num_top: int) -> None:
        self._num_top = num_top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_chars = 0

    def of(self, tokens: Sequence[TokenLogprob]) -> Body:
        offsets = []
        for token in tokens:
            offsets.append(self._num_chars)
            if not token.is_hidden:
                self._num_chars += len(self._decoder.decode(token.bytes))
        return {
            "tokens": [_name(token) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [_top(token) for token in tokens] if self._num_top else None,
            "text_offset": offsets,
        }


def _top(token: TokenLogprob) -> dict[str, float]:
    """The likeliest, and the sampled token even if it is none of them."""
    return {_name(other): other.logprob for other in (*token.top, token)}


def _name(token: TokenLogprob) -> str:
    """The token's text; a part of a character is named by its bytes, so that two parts have two names."""
    try:
        return token.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)
