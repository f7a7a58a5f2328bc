"""The gRPC face over a fake model, in this process, on a free port of 127.0.0.1."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from service.access import Access
from service.engine.client import EngineClient
from service.generate.generator import Generator
from service.generate.serving import Serving
from service.metrics.service_metrics import ServiceMetrics
from service.rpc.proto.gemmule.v1 import control_pb2, inference_pb2
from service.rpc.proto.inference import open_inference_grpc_pb2
from service.rpc.server import Limits, answering
from tests.service.fakes import FakeChatTemplate, FakeRunner, FakeTokenizer, serving
from tests.service.rpc.stub import Stub

MODEL = "fake"
CREATED_S = 1_700_000_000


@dataclass
class Api:
    channel: grpc.aio.Channel
    serving: Serving
    engine: EngineClient
    registry: CollectorRegistry
    asked_to_stop: list[bool]
    address: str

    def __post_init__(self) -> None:
        self.inference: Any = Stub(self.channel, inference_pb2.DESCRIPTOR.services_by_name["Inference"])
        self.control: Any = Stub(self.channel, control_pb2.DESCRIPTOR.services_by_name["Control"])
        self.health: Any = Stub(self.channel, health_pb2.DESCRIPTOR.services_by_name["Health"])
        self.oip: Any = Stub(self.channel, open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"])


@asynccontextmanager
async def api(
    runner: FakeRunner,
    *,
    is_open: bool = True,
    max_body: int = 1 << 20,
    access: Access | None = None,
    **arguments: Any,
) -> AsyncIterator[Api]:
    """`is_open` False: the model is still being loaded (arguments: tests.service.fakes.serving)."""
    metrics = ServiceMetrics()
    asked: list[bool] = []
    async with serving(runner, **arguments) as engine:
        state = Serving(clock=lambda: CREATED_S, ask_to_stop=lambda: asked.append(True))
        if is_open:
            open_model(state, engine)
        async with (
            answering(state, metrics, "127.0.0.1", 0, Limits(access or Access(), max_body, 1000)) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            yield Api(channel, state, engine, metrics.registry, asked, address)


def open_model(state: Serving, engine: EngineClient) -> None:
    generator = Generator(engine, FakeTokenizer(), FakeChatTemplate())  # type: ignore[arg-type]
    state.open(MODEL, generator, engine.max_context, engine.stats, description=["a fake model"])
