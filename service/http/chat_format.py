"""Text events -> the bodies of /v1/chat/completions: OpenAI's `chat.completion`. Knows no connection."""

from collections.abc import Sequence

from service.generate.text import TextEvent, TokenLogprob, Usage
from service.http.usage import timings_body, usage_body

Body = dict[str, object]


class ChatFormat:
    """One response: the same head in every chunk."""

    def __init__(
        self, id: str, created_s: int, model: str, *, num_choices: int, logprobs: bool, with_token_ids: bool = False
    ) -> None:
        self._facts: Body = {"created": created_s, "model": model}
        self._id = id
        self._num_choices = num_choices
        self._logprobs = logprobs
        self._with_token_ids = with_token_ids

    def response(self, outputs: Sequence[TextEvent], usages: Sequence[Usage]) -> Body:
        choices = [
            self._choice(choice, "message", {"role": "assistant", "content": output.text, "refusal": None}, output)
            for choice, output in enumerate(outputs)
        ]
        usage = usage_body(usages, len(usages))
        body: Body = {"id": self._id, "object": "chat.completion", **self._facts, "choices": choices, "usage": usage}
        return body | ({"timings": timings_body(outputs[0])} if len(outputs) == 1 else {})

    def first_chunks(self) -> list[Body]:
        """Who speaks, before the first word."""
        delta: Body = {"role": "assistant", "content": "", "refusal": None}
        return [self._chunk([self._choice(choice, "delta", delta, None)]) for choice in range(self._num_choices)]

    def chunk(self, choice: int, event: TextEvent) -> list[Body]:
        delta: Body = {"content": event.text} if event.text or event.finish_reason is None else {}
        timings = {} if event.timings is None else {"timings": timings_body(event)}
        return [self._chunk([self._choice(choice, "delta", delta, event)]) | timings]

    def usage_chunk(self, usages: Sequence[Usage]) -> Body:
        return {**self._chunk([]), "usage": usage_body(usages, self._num_choices)}

    def _chunk(self, choices: list[Body]) -> Body:
        return {"id": self._id, "object": "chat.completion.chunk", **self._facts, "choices": choices}

    def _choice(self, choice: int, name: str, content: Body, event: TextEvent | None) -> Body:
        reason = None if event is None or event.finish_reason is None else event.finish_reason.value
        logprobs: Body | None = None
        if self._logprobs and event is not None:
            logprobs = {"content": [_token(token) for token in event.tokens], "refusal": None}
        body: Body = {"index": choice, name: content, "logprobs": logprobs, "finish_reason": reason}
        if self._with_token_ids and event is not None:
            body["token_ids"] = event.token_ids
        return body


def _token(token: TokenLogprob) -> Body:
    return {**_facts(token), "top_logprobs": [_facts(other) for other in token.top]}


def _facts(token: TokenLogprob) -> Body:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}
