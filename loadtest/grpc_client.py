"""Asks a server of `gemmule.v1.Inference` over gRPC and times each piece. Knows no load and no statistics.

The messages are what the server's own reflection says they are, so nothing of the service is imported.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from loadtest.conversation import Ask, Reply
from loadtest.errors import BadLoad, RequestFailed, Unreachable

SCHEME = "grpc://"
PACKAGE = "gemmule.v1"
POLL_S = 0.5
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcClient:
    """`options` are the fields of gemmule.v1.Options, by name; `headers` go along as metadata."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float],
        chat: bool = False,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self.url = url
        self._address = url.removeprefix(SCHEME)
        self._clock = clock
        self._chat = chat
        self._model = model
        self._options = dict(options or {})
        self._metadata = tuple((name.lower(), value) for name, value in (headers or {}).items())
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(self._address, options=UNLIMITED)
        self._pool: DescriptorPool | None = None
        self._generate: Any = None

    async def ready(self, within_s: float) -> str:
        give_up_s = self._clock() + within_s
        while True:
            try:
                self._pool = self._pool or await asyncio.to_thread(self._described)
                self._generate = self._method("Inference/GenerateStream", "GenerateRequest", "GenerateChunk")
                described = self._method("Control/GetModelInfo", "GetModelInfoRequest", "GetModelInfoResponse")
                request = self._message("GetModelInfoRequest")(model=self._model or "")
                answer = await described(request, timeout=10.0, metadata=self._metadata)
                self._options_message()
                self._model = str(answer.name)
                return self._model
            except (grpc.RpcError, KeyError) as error:
                reason = _said(error)
            if self._clock() >= give_up_s:
                raise Unreachable(f"{self.url} is not ready after {within_s:g} s ({reason})")
            await asyncio.sleep(POLL_S)

    async def ask(self, ask: Ask) -> Reply:
        chunk_s: list[float] = []
        texts: list[str] = []
        last, end_s = None, self._clock()
        try:
            async for chunk in self._generate(self._request(ask), timeout=self._timeout_s, metadata=self._metadata):
                end_s, last = self._clock(), chunk
                if chunk.text:
                    texts.append(chunk.text)
                    chunk_s.append(end_s)
        except grpc.RpcError as error:
            raise RequestFailed(f"gRPC {error.code().name}", _said(error)) from None
        if last is None or not last.finish_reason:
            raise RequestFailed("cut off", "the stream ended without a finish reason")
        usage = last.usage
        return Reply(
            chunk_s=tuple(chunk_s),
            end_s=end_s,
            text="".join(texts),
            output_tokens=int(usage.completion_tokens),
            prompt_tokens=int(usage.prompt_tokens),
            cached_tokens=int(usage.cached_tokens),
        )

    async def close(self) -> None:
        await self._channel.close()

    def _described(self) -> DescriptorPool:
        """Everything that the two services' files say, fetched as it is looked up."""
        with grpc.insecure_channel(self._address) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            for service in ("Inference", "Control"):
                pool.FindServiceByName(f"{PACKAGE}.{service}")
        return pool

    def _message(self, name: str) -> Any:
        assert self._pool is not None, "ready comes first"
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def _method(self, path: str, request: str, response: str) -> Any:
        opened = self._channel.unary_stream if response == "GenerateChunk" else self._channel.unary_unary
        return opened(
            f"/{PACKAGE}.{path}",
            request_serializer=self._message(request).SerializeToString,
            response_deserializer=self._message(response).FromString,
        )

    def _options_message(self, max_tokens: int = 1) -> Any:
        try:
            return ParseDict({**self._options, "max_tokens": max_tokens}, self._message("Options")())
        except ParseError as error:
            raise BadLoad(f"not among the options of {PACKAGE}: {error}") from None

    def _request(self, ask: Ask) -> Any:
        made = self._message("GenerateRequest")(model=self._model, options=self._options_message(ask.turn.max_tokens))
        prompt = ask.turn.prompt
        if self._chat:
            for role, content in (*ask.history, ("user", str(prompt))):
                made.chat.messages.add(role=role, content=content)
        elif isinstance(prompt, str):
            made.text = prompt
        else:
            made.token_ids.ids.extend(prompt)
        return made


def _said(error: Exception) -> str:
    return str(error.details() or error.code().name) if isinstance(error, grpc.RpcError) else str(error)
