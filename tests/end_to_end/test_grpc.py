"""gRPC beside HTTP on one server: the same tokens, many streams of both at once, and an orderly end."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from grpc_health.v1 import health_pb2

from service.rpc.proto.gemmule.v1 import control_pb2, inference_pb2
from tests.end_to_end.requests import COMPLETIONS, SEEDED, joined, stream
from tests.end_to_end.server import LIMIT_S, Server, served, started
from tests.service.rpc.stub import Stub

NUM_STREAMS = 64
MAX_TOKENS = 24


def request_of(index: int) -> dict[str, Any]:
    """Requests unlike each other, with the same words for both faces."""
    return {
        "prompt": f"Number {index} is " * (1 + index % 7),
        "temperature": (0.0, 0.8, 1.2)[index % 3],
        "seed": index,
        "max_tokens": MAX_TOKENS,
        "ignore_eos": True,
    }


def message_of(body: dict[str, Any]) -> inference_pb2.GenerateRequest:
    names = inference_pb2.Options.DESCRIPTOR.fields_by_name
    options = {name: value for name, value in body.items() if name in names}
    return inference_pb2.GenerateRequest(text=body["prompt"], options=inference_pb2.Options(**options))


def inference(channel: grpc.aio.Channel) -> Any:
    return Stub(channel, inference_pb2.DESCRIPTOR.services_by_name["Inference"])


async def streamed(stub: Any, body: dict[str, Any]) -> str:
    chunks = [chunk async for chunk in stub.generate_stream(message_of(body), timeout=LIMIT_S)]
    assert chunks[-1].finish_reason == inference_pb2.FINISH_REASON_LENGTH
    assert sum(len(chunk.token_ids) for chunk in chunks) == body["max_tokens"]
    return "".join(chunk.text for chunk in chunks)


async def test_the_same_tokens_as_over_http(server: Server) -> None:
    async with (
        grpc.aio.insecure_channel(server.grpc_address()) as channel,
        httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client,
    ):
        answer = await inference(channel).generate(message_of(SEEDED))
        (choice,) = (await client.post(COMPLETIONS, json=SEEDED)).json()["choices"]
    assert answer.text == choice["text"]
    assert [token.logprob for token in answer.tokens] == choice["logprobs"]["token_logprobs"]
    assert len(answer.token_ids) == SEEDED["max_tokens"]


async def test_64_streams_of_each_face_at_once_and_nothing_lost(server: Server) -> None:
    bodies = [request_of(index) for index in range(NUM_STREAMS)]
    limits = httpx.Limits(max_connections=NUM_STREAMS)
    async with (
        grpc.aio.insecure_channel(server.grpc_address()) as channel,
        httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S, limits=limits) as client,
    ):
        stub = inference(channel)
        over_grpc, over_http = await asyncio.gather(
            asyncio.gather(*(streamed(stub, body) for body in bodies)),
            asyncio.gather(*(stream(client, COMPLETIONS, body) for body in bodies)),
        )
    assert over_grpc == [joined(chunks)["text"] for chunks in over_http]
    assert len(set(over_grpc)) > NUM_STREAMS // 2
    server.wait_for_metric("gemmule_kv_blocks_used", 0)


async def test_a_cancelled_call_gives_its_blocks_back(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.grpc_address()) as channel:
        body = {**request_of(0), "max_tokens": 3000}
        before = server.metrics().value("gemmule_generation_tokens_total")
        call = inference(channel).generate_stream(message_of(body))
        assert (await anext(aiter(call))).token_ids
        call.cancel()
        metrics = await asyncio.to_thread(server.wait_for_metric, "gemmule_requests_running", 0)
        assert metrics.value("gemmule_kv_blocks_used") == 0
        assert metrics.value("gemmule_generation_tokens_total") - before < 3000


async def test_drain_over_grpc_ends_the_process_in_order(tiny_gguf: Path, tmp_path: Path) -> None:
    with started(tiny_gguf, tmp_path) as server:
        server.wait_until_ready()
        async with grpc.aio.insecure_channel(server.grpc_address()) as channel:
            control: Any = Stub(channel, control_pb2.DESCRIPTOR.services_by_name["Control"])
            health: Any = Stub(channel, health_pb2.DESCRIPTOR.services_by_name["Health"])
            watch = aiter(health.watch(health_pb2.HealthCheckRequest()))
            assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVING
            chunks = aiter(inference(channel).generate_stream(message_of({**request_of(1), "max_tokens": 60})))
            taken = [await anext(chunks)]
            assert (await control.drain(control_pb2.DrainRequest())).num_open <= 1
            assert (await anext(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            taken += [chunk async for chunk in chunks]
            assert sum(len(chunk.token_ids) for chunk in taken) == 60
        assert await asyncio.to_thread(server.wait) == 0
        assert "Traceback" not in server.said(), server.said()


def test_off_means_off(tiny_gguf: Path, tmp_path: Path) -> None:
    with served(tiny_gguf, tmp_path, "--grpc-port", "off") as server:
        assert "gRPC" not in server.out.read_text()


def test_a_port_in_use_is_one_line(tiny_gguf: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(tiny_gguf, tmp_path, "--grpc-port", str(port)) as server:
            assert server.wait() == 1
            (line,) = server.err.read_text().splitlines()
    assert line == f"gemmule: cannot listen on 127.0.0.1:{port} for gRPC: the address is in use or not ours"
