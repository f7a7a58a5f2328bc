"""Text events -> the bodies of /v1/chat/completions: OpenAI's `chat.completion`. Knows no connection."""

from collections.abc import Sequence

from service.generate.chat_output import ChatEvent, ChatOutput, ChatParsing
from service.generate.text import TextEvent, TokenLogprob, Usage
from service.generate.tool_calls import ToolCallDelta
from service.http.usage import timings_body, usage_body

Body = dict[str, object]


class ChatFormat:
    """One response: the same head in every chunk."""

    def __init__(
        self,
        id: str,
        created_s: int,
        model: str,
        *,
        num_choices: int,
        logprobs: bool,
        with_token_ids: bool = False,
        parsing: ChatParsing,
    ) -> None:
        self._facts: Body = {"created": created_s, "model": model}
        self._id = id
        self._num_choices = num_choices
        self._logprobs = logprobs
        self._with_token_ids = with_token_ids
        self._outputs = [ChatOutput(parsing) for _ in range(num_choices)]

    def response(self, outputs: Sequence[TextEvent], usages: Sequence[Usage]) -> Body:
        choices = []
        for choice, output in enumerate(outputs):
            event = self._outputs[choice].push(output)
            choices.append(self._choice(choice, "message", _message(event), output, event.finish_reason))
        usage = usage_body(usages, len(usages))
        body: Body = {"id": self._id, "object": "chat.completion", **self._facts, "choices": choices, "usage": usage}
        return body | ({"timings": timings_body(outputs[0])} if len(outputs) == 1 else {})

    def first_chunks(self) -> list[Body]:
        """Who speaks, before the first word."""
        delta: Body = {"role": "assistant", "content": "", "refusal": None}
        return [self._chunk([self._choice(choice, "delta", delta, None, None)]) for choice in range(self._num_choices)]

    def chunk(self, choice: int, output: TextEvent) -> list[Body]:
        """One at the most, with all that is new: none while everything is held back."""
        event = self._outputs[choice].push(output)
        delta: Body = {}
        if event.reasoning:
            delta["reasoning_content"] = event.reasoning
        if event.content:
            delta["content"] = event.content
        if event.tool_calls:
            delta["tool_calls"] = [_call_delta(call) for call in event.tool_calls]
        if not delta and event.finish_reason is None and not output.tokens and not self._with_token_ids:
            return []
        timings = {} if output.timings is None else {"timings": timings_body(output)}
        return [self._chunk([self._choice(choice, "delta", delta, output, event.finish_reason)]) | timings]

    def usage_chunk(self, usages: Sequence[Usage]) -> Body:
        return {**self._chunk([]), "usage": usage_body(usages, self._num_choices)}

    def _chunk(self, choices: list[Body]) -> Body:
        return {"id": self._id, "object": "chat.completion.chunk", **self._facts, "choices": choices}

    def _choice(
        self, choice: int, name: str, content: Body, output: TextEvent | None, finish_reason: str | None
    ) -> Body:
        logprobs: Body | None = None
        if self._logprobs and output is not None:
            logprobs = {"content": [_token(token) for token in output.tokens], "refusal": None}
        body: Body = {"index": choice, name: content, "logprobs": logprobs, "finish_reason": finish_reason}
        if self._with_token_ids and output is not None:
            body["token_ids"] = output.token_ids
        return body


def _message(event: ChatEvent) -> Body:
    """The whole answer."""
    message: Body = {"role": "assistant", "content": event.content, "refusal": None}
    if event.reasoning:
        message["reasoning_content"] = event.reasoning
    calls: list[dict[str, str]] = []
    for delta in event.tool_calls:
        if delta.index == len(calls):
            calls.append({"id": delta.id or "", "name": delta.name or "", "arguments": ""})
        calls[delta.index]["arguments"] += delta.arguments
    if calls:
        message["content"] = event.content or None
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls
        ]
    return message


def _call_delta(call: ToolCallDelta) -> Body:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def _token(token: TokenLogprob) -> Body:
    return {**_facts(token), "top_logprobs": [_facts(other) for other in token.top]}


def _facts(token: TokenLogprob) -> Body:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}
