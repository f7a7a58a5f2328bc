"""Text events -> the bodies of /v1/completions: OpenAI's `text_completion`. Knows no connection."""

import codecs
from collections.abc import Sequence

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
    ) -> None:
        """`echoes`: the prompts, where each is to stand before its completions."""
        self._head: Body = {"id": id, "object": "text_completion", "created": created_s, "model": model}
        self._num_samples = num_samples
        num_choices = num_prompts * num_samples
        self._logprobs = None if logprobs is None else [_Logprobs(logprobs) for _ in range(num_choices)]
        self._echoes = (
            {} if echoes is None else {choice: echoes[choice // num_samples] for choice in range(num_choices)}
        )
        self._with_token_ids = with_token_ids

    def response(self, outputs: Sequence[TextEvent], usages: Sequence[Usage]) -> Body:
        body: Body = {**self._head, "choices": [self._choice(choice, output) for choice, output in enumerate(outputs)]}
        body["usage"] = usage_body(usages, len(usages) // (len(outputs) // self._num_samples))
        return body | ({"timings": timings_body(outputs[0])} if len(outputs) == 1 else {})

    def first_chunks(self) -> list[Body]:
        return []

    def chunk(self, choice: int, event: TextEvent) -> list[Body]:
        timings = {} if event.timings is None else {"timings": timings_body(event)}
        return [{**self._head, "choices": [self._choice(choice, event)], **timings}]

    def usage_chunk(self, usages: Sequence[Usage]) -> Body:
        return {**self._head, "choices": [], "usage": usage_body(usages, self._num_samples)}

    def _choice(self, choice: int, event: TextEvent) -> Body:
        body: Body = {
            "index": choice,
            "text": self._echoes.pop(choice, "") + event.text,
            "logprobs": None if self._logprobs is None else self._logprobs[choice].of(event.tokens),
            "finish_reason": None if event.finish_reason is None else event.finish_reason.value,
        }
        return body | ({"token_ids": event.token_ids} if self._with_token_ids else {})


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
