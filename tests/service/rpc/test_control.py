"""gemmule.v1.Control, grpc.health.v1 and reflection: what operators and their machines ask."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from service.access import Access
from service.rpc.proto.gemmule.v1 import control_pb2 as pb
from service.rpc.proto.gemmule.v1 import inference_pb2
from tests.service.fakes import EOS, IM_END, VOCAB_SIZE, FakeRunner
from tests.service.rpc.api import CREATED_S, MODEL, api, open_model
from tests.service.rpc.stub import Stub

SERVICES = {"gemmule.v1.Inference", "gemmule.v1.Control", "inference.GRPCInferenceService"}
Status = health_pb2.HealthCheckResponse


async def test_model_and_server_info() -> None:
    async with api(FakeRunner()) as client:
        model = await client.control.get_model_info(pb.GetModelInfoRequest())
        assert (model.name, model.created_s, model.vocab_size) == (MODEL, CREATED_S, VOCAB_SIZE)
        assert model.max_context == client.engine.max_context
        assert model.has_chat_template
        assert list(model.eos_token_ids) == [EOS, IM_END]
        server = await client.control.get_server_info(pb.GetServerInfoRequest())
        assert server.version
        assert server.phase == pb.PHASE_READY
        assert list(server.description) == ["a fake model"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.control.get_model_info(pb.GetModelInfoRequest(model="other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_load_and_abort() -> None:
    runner = FakeRunner()
    runner.hold()
    async with api(runner) as client:
        options = inference_pb2.Options(max_tokens=900)
        request = inference_pb2.GenerateRequest(text="a", request_id="mine", options=options)
        chunks = aiter(client.inference.generate_stream(request))
        runner.allow(2)
        assert (await anext(chunks)).request_id == "mine"
        load = await client.control.get_load(pb.GetLoadRequest())
        assert (load.num_running, load.num_queued, load.num_used_blocks) == (1, 0, 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.inference.generate(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        answer = await client.control.abort(pb.AbortRequest(request_ids=["mine", "another's"]))
        assert list(answer.aborted) == ["mine"]
        runner.let_go()
        last = [chunk async for chunk in chunks][-1]
        assert last.finish_reason == inference_pb2.FINISH_REASON_ABORT
        assert not (await client.control.abort(pb.AbortRequest(request_ids=["mine"]))).aborted


async def test_drain_asks_the_process_to_stop() -> None:
    async with api(FakeRunner()) as client:
        assert (await client.control.drain(pb.DrainRequest())).num_open == 0
        assert client.asked_to_stop == [True]


async def test_refused_while_loading_and_while_draining() -> None:
    request = inference_pb2.GenerateRequest(text="a")
    async with api(FakeRunner(), is_open=False) as client:
        for drained in (False, True):
            if drained:
                client.serving.drain()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.inference.generate(request)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            server = await client.control.get_server_info(pb.GetServerInfoRequest())
            assert server.phase == (pb.PHASE_DRAINING if drained else pb.PHASE_LOADING)


async def test_health_is_checked_listed_and_watched_through_every_phase() -> None:
    async with api(FakeRunner(), is_open=False) as client:
        check = client.health.check
        for service in ("", *SERVICES):
            assert (await check(health_pb2.HealthCheckRequest(service=service))).status == Status.NOT_SERVING
        watches = [
            aiter(client.health.watch(health_pb2.HealthCheckRequest(service=service))) for service in ("", *SERVICES)
        ]
        assert [(await anext(watch)).status for watch in watches] == [Status.NOT_SERVING] * 4
        open_model(client.serving, client.engine)
        assert [(await anext(watch)).status for watch in watches] == [Status.SERVING] * 4
        listed = (await client.health.list(health_pb2.HealthListRequest())).statuses
        assert {name: answer.status for name, answer in listed.items()} == dict.fromkeys(
            {"", *SERVICES}, Status.SERVING
        )
        client.serving.drain()
        assert [(await anext(watch)).status for watch in watches] == [Status.NOT_SERVING] * 4
        assert [[more async for more in watch] for watch in watches] == [[]] * 4
        assert (await check(health_pb2.HealthCheckRequest())).status == Status.NOT_SERVING


async def test_health_of_a_service_that_is_not_there() -> None:
    request = health_pb2.HealthCheckRequest(service="no.such.Service")
    async with api(FakeRunner()) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.health.check(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = aiter(client.health.watch(request))
        assert (await anext(watch)).status == Status.SERVICE_UNKNOWN


async def test_a_client_that_knows_nothing_but_reflection() -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        target = client.address

        def described() -> tuple[set[str], DescriptorPool]:
            with grpc.insecure_channel(target) as channel:
                database = ProtoReflectionDescriptorDatabase(channel)
                names = set(database.get_services())
                pool = DescriptorPool(database)
                for name in names:
                    pool.FindServiceByName(name)
                return names, pool

        names, pool = await asyncio.to_thread(described)
        assert names == SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        service = pool.FindServiceByName("gemmule.v1.Inference")
        request = pool.FindMessageTypeByName("gemmule.v1.GenerateRequest")
        stub = Stub(client.channel, service)
        answer = await stub.generate(GetMessageClass(request)(text="a"))
        assert answer.text == "Hello!"


async def test_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("sk-of-a-user\nsk-of-an-admin admin\n")
    async with api(FakeRunner(script=b"ok"), access=Access(file=tmp_path / "keys")) as client:
        request = inference_pb2.GenerateRequest(text="a")
        for metadata in (None, (("authorization", "Bearer sk-of-nobody"),), (("x-api-key", "sk-of-a-user"),)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.inference.generate(request, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        user = (("authorization", "Bearer sk-of-a-user"),)
        assert (await client.inference.generate(request, metadata=user)).text == "ok"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.control.drain(pb.DrainRequest(), metadata=user)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert not client.asked_to_stop
        await client.control.drain(pb.DrainRequest(), metadata=(("authorization", "Bearer sk-of-an-admin"),))
        assert client.asked_to_stop
        assert (await client.health.check(health_pb2.HealthCheckRequest())).status == Status.SERVING
