"""A server of known delays as an httpx transport: no socket, no machine speed. Also, over a socket, as ASGI."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Delays(httpx.AsyncBaseTransport):
    """`ttft_s` and `itl_s` are functions of the request's number. Chunks have one token each."""

    ttft_s: Callable[[int], float] = lambda number: 0.25
    itl_s: Callable[[int], float] = lambda number: 0.02
    refuses: Callable[[int], int] = lambda number: 200
    cut_after: int | None = None
    not_ready: int = 0
    sends_usage: bool = True
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            if self.not_ready > 0:
                self.not_ready -= 1
                return httpx.Response(503, json={"error": {"message": "loading"}})
            return httpx.Response(200, json={"data": [{"id": "mock"}]})
        number = len(self.seen)
        body = json.loads(await request.aread())
        self.seen.append(body)
        if (status := self.refuses(number)) != 200:
            return httpx.Response(status, json={"error": {"message": "the queue is full"}})
        return httpx.Response(200, stream=_Stream(self._events(number, body)))

    async def _events(self, number: int, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        num_tokens = body["max_tokens"]
        is_chat = "messages" in body
        if is_chat:
            yield _event({"choices": [{"delta": {"role": "assistant"}}]})
        for token in range(num_tokens):
            await asyncio.sleep(self.itl_s(number) if token else self.ttft_s(number))
            if self.cut_after == token:
                return
            said = {"delta": {"content": f" t{token}"}} if is_chat else {"text": f" t{token}"}
            finish = "length" if token == num_tokens - 1 else None
            yield _event({"choices": [{**said, "finish_reason": finish}], "usage": None})
        if self.sends_usage:
            prompt = body.get("prompt", "")
            count = len(prompt) if isinstance(prompt, list) else 7
            usage = {"prompt_tokens": count, "completion_tokens": num_tokens}
            yield _event({"choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 3}}})
        yield b"data: [DONE]\n\n"


class _Stream(httpx.AsyncByteStream):
    def __init__(self, events: AsyncIterator[bytes]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            yield event


def _event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
