"""A client of OpenAI-shaped HTTP servers: /v1/completions or /v1/chat/completions, streamed. Knows no load.

Tried with Gemmule, llama-server and vLLM, which differ in when a last chunk has no text and whether one with the usage
follows.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpx

from loadtest.aiohttp_transport import CONNECTING, AiohttpTransport
from loadtest.conversation import Ask, Reply
from loadtest.errors import RequestFailed, Unreachable
from loadtest.event_stream import EventReader

POLL_S = 0.2


class HttpClient:
    """`body` is added to every request; `clock` tells seconds."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float],
        chat: bool = False,
        model: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 600.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._clock = clock
        self._chat = chat
        self._model = model
        self._body = dict(body or {})
        self._timeout_s = timeout_s
        # Without compression a chunk arrives when it was sent.
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"accept-encoding": "identity", **(headers or {})},
            timeout=httpx.Timeout(timeout_s),
            transport=transport or AiohttpTransport(),
        )

    async def ready(self, within_s: float) -> str:
        give_up_s = self._clock() + within_s
        while True:
            try:
                answer = await self._http.get("/v1/models", timeout=min(10.0, max(1.0, within_s)))
                reason = f"/v1/models says {answer.status_code}"
                if answer.status_code == 200 and (models := answer.json().get("data")):
                    self._model = self._model or str(models[0]["id"])
                    return self._model
            except (httpx.HTTPError, ValueError, KeyError) as error:
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
            if self._clock() >= give_up_s:
                raise Unreachable(f"{self.url} is not ready after {within_s:g} s ({reason})")
            await asyncio.sleep(POLL_S)

    async def ask(self, ask: Ask) -> Reply:
        path = "/v1/chat/completions" if self._chat else "/v1/completions"
        try:
            async with asyncio.timeout(self._timeout_s):
                async with aclosing(await self._sent(path, self._request(ask))) as response:
                    if response.status_code != 200:
                        raise RequestFailed(f"HTTP {response.status_code}", _message(await response.aread()))
                    return await self._read(response)
        except TimeoutError:
            raise RequestFailed("timeout", f"after {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise RequestFailed(type(error).__name__, str(error)) from None

    async def close(self) -> None:
        await self._http.aclose()

    async def _sent(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """A server may close kept connections while a request is on its way to one: then it is sent again, on whatever
        is left of them or on a new one."""
        while True:
            is_new = False

            async def trace(event: str, _: Mapping[str, Any]) -> None:
                nonlocal is_new
                is_new = is_new or event == CONNECTING

            request = self._http.build_request("POST", path, json=body, extensions={"trace": trace})
            try:
                return await self._http.send(request, stream=True)
            except httpx.RemoteProtocolError:
                if is_new:
                    raise

    def _request(self, ask: Ask) -> dict[str, Any]:
        said: dict[str, Any]
        if self._chat:
            messages = [*ask.history, ("user", str(ask.turn.prompt))]
            said = {"messages": [{"role": role, "content": content} for role, content in messages]}
        else:
            said = {"prompt": ask.turn.prompt}
        return {
            "model": self._model,
            **said,
            "max_tokens": ask.turn.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._body,
        }

    async def _read(self, response: httpx.Response) -> Reply:
        reader, chunk_s, texts, usage = EventReader(), [], [], None
        end_s, finished = self._clock(), False
        async for piece in response.aiter_raw():
            now_s = self._clock()
            for event in reader.feed(piece):
                if "error" in event:
                    raise RequestFailed("error event", _said(event["error"]))
                usage = event.get("usage") or usage
                for choice in event.get("choices") or ():
                    end_s, finished = now_s, finished or choice.get("finish_reason") is not None
                    if text := _text(choice):
                        texts.append(text)
                        chunk_s.append(now_s)
        if not (finished or reader.is_done):
            raise RequestFailed("cut off", "the stream ended without a finish reason")
        counts = usage or {}
        return Reply(
            chunk_s=tuple(chunk_s),
            end_s=end_s,
            text="".join(texts),
            output_tokens=int(counts.get("completion_tokens", len(chunk_s))),
            prompt_tokens=int(counts.get("prompt_tokens", 0)),
            cached_tokens=int((counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        )


def _text(choice: Mapping[str, Any]) -> str:
    """Of a completion's or a chat's chunk; a chat's first one has a role and no text."""
    if "text" in choice:
        return choice["text"] or ""
    delta = choice.get("delta") or {}
    return (delta.get("reasoning_content") or delta.get("reasoning") or "") + (delta.get("content") or "")


def _said(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _message(body: bytes) -> str:
    """OpenAI's error body, or the start of whatever it is."""
    try:
        return _said(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
