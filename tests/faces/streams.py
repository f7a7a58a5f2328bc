"""Many streams of both faces at once: nothing is lost, and both say the same. Knows no model."""

from __future__ import annotations

import asyncio

import grpc.aio
import httpx

from tests.end_to_end.requests import COMPLETIONS, joined, stream
from tests.end_to_end.server import LIMIT_S, Server
from tests.end_to_end.test_grpc import inference, request_of, streamed

BLOCKS = "gemmule_kv_blocks_used"


async def both_faces(server: Server, num_streams: int) -> int:
    """So many of each, the same requests; returns the number of different answers. AssertionError for what is lost."""
    bodies = [request_of(index) for index in range(num_streams)]
    limits = httpx.Limits(max_connections=num_streams)
    async with (
        grpc.aio.insecure_channel(server.grpc_address()) as channel,
        httpx.AsyncClient(base_url=server.url, timeout=10 * LIMIT_S, limits=limits) as client,
    ):
        stub = inference(channel)
        over_grpc, over_http = await asyncio.gather(
            asyncio.gather(*(streamed(stub, body) for body in bodies)),
            asyncio.gather(*(stream(client, COMPLETIONS, body) for body in bodies)),
        )
    texts = [joined(chunks)["text"] for chunks in over_http]
    wrong = [index for index, text in enumerate(texts) if text != over_grpc[index]]
    assert not wrong, f"the faces differ on {len(wrong)} of {num_streams} requests: {wrong}"
    await asyncio.to_thread(server.wait_for_metric, BLOCKS, 0)
    return len(set(texts))
