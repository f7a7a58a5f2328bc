"""Asks a server in a container, as its callers do: streams over HTTP and gRPC, and its metrics. Knows no container."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import httpx

from service.rpc.proto.gemmule.v1 import inference_pb2 as messages

PROMPT, MAX_TOKENS = "The sponge is", 4
REQUEST_S, POLL_S = 300.0, 0.5


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back; texts of both faces are those of one greedy completion, so they are equal."""

    ready_s: float
    http_text: str
    http_chunks: int
    grpc_text: str
    grpc_chunks: int
    num_compiled: int
    """Kernels and functions compiled since the start, by the server's own count."""


def asked(port: int, within_s: float, must_run: Callable[[], None]) -> Answers:
    """Waits until the server is ready. Raises TimeoutError."""
    url, begun_s = f"http://127.0.0.1:{port}", time.monotonic()
    while not _is_ready(url):
        must_run()
        if time.monotonic() - begun_s > within_s:
            raise TimeoutError(f"not ready after {within_s:g} s")
        time.sleep(POLL_S)
    ready_s = time.monotonic() - begun_s
    http_pieces = _over_http(url)
    grpc_pieces = asyncio.run(_over_grpc(f"127.0.0.1:{port + 1}"))
    num_compiled = _metric(httpx.get(f"{url}/metrics", timeout=REQUEST_S).text, "gemmule_kernel_compilations_total")
    texts = "".join(http_pieces), "".join(grpc_pieces)
    return Answers(ready_s, texts[0], len(http_pieces), texts[1], len(grpc_pieces), num_compiled)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=60.0).status_code == 200
    except httpx.HTTPError:
        return False


def _over_http(url: str) -> list[str]:
    body = {"prompt": PROMPT, "max_tokens": MAX_TOKENS, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=REQUEST_S) as response:
        response.raise_for_status()
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: {")]
    return [text for line in lines for choice in json.loads(line)["choices"] if (text := choice["text"])]


async def _over_grpc(address: str) -> list[str]:
    options = messages.Options(max_tokens=MAX_TOKENS, temperature=0.0)
    async with grpc.aio.insecure_channel(address) as channel:
        stream = channel.unary_stream(
            "/gemmule.v1.Inference/GenerateStream",
            request_serializer=messages.GenerateRequest.SerializeToString,
            response_deserializer=messages.GenerateChunk.FromString,
        )
        pieces = stream(messages.GenerateRequest(text=PROMPT, options=options), timeout=REQUEST_S)
        return [piece.text async for piece in pieces if piece.text]


def _metric(exposition: str, name: str) -> int:
    """The sum of a metric's series; one that is missing is an error, not 0."""
    found = [line.rsplit(" ", 1)[1] for line in exposition.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    if not found:
        raise ValueError(f"/metrics has no {name}")
    return int(sum(map(float, found)))
