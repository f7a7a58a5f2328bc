"""The load test over gRPC, on the real face over a fake model: the messages come from its reflection."""

import asyncio

import pytest

from loadtest.conversation import Ask, Turn
from loadtest.errors import BadLoad, RequestFailed, Unreachable
from loadtest.grpc_client import SCHEME, GrpcClient
from tests.service.fakes import FakeRunner
from tests.service.rpc.api import MODEL, Api, api


def client_of(face: Api, **arguments: object) -> GrpcClient:
    options = {"temperature": 0.0, "ignore_eos": True}
    clock = asyncio.get_running_loop().time
    return GrpcClient(SCHEME + face.address, clock=clock, **{"options": options, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["one two", (3, 4, 5)])
async def test_an_answer_is_streamed_and_counted(prompt: str | tuple[int, ...]) -> None:
    async with api(FakeRunner()) as face:
        client = client_of(face)
        assert await client.ready(5.0) == MODEL
        reply = await client.ask(Ask(Turn(prompt, 6)))
        await client.close()
    assert reply.output_tokens == 6
    assert reply.prompt_tokens > 0
    assert len(reply.chunk_s) >= 1
    assert list(reply.chunk_s) == sorted(reply.chunk_s)
    assert reply.end_s >= reply.chunk_s[-1]
    assert reply.text


async def test_a_chat_carries_its_history() -> None:
    async with api(FakeRunner()) as face:
        client = client_of(face, chat=True)
        await client.ready(5.0)
        first = await client.ask(Ask(Turn("hello", 2)))
        later = await client.ask(Ask(Turn("and then", 2), (("user", "hello"), ("assistant", first.text))))
        await client.close()
    assert later.prompt_tokens > first.prompt_tokens


async def test_a_refusal_has_its_status() -> None:
    async with api(FakeRunner()) as face:
        client = client_of(face)
        await client.ready(5.0)
        with pytest.raises(RequestFailed, match=r"INVALID_ARGUMENT|OUT_OF_RANGE"):
            await client.ask(Ask(Turn((3,) * 5000, 6)))
        await client.close()


async def test_an_option_that_is_none_is_refused_before_the_load() -> None:
    async with api(FakeRunner()) as face:
        client = client_of(face, options={"temprature": 0.0})
        with pytest.raises(BadLoad, match="temprature"):
            await client.ready(5.0)
        await client.close()


async def test_nobody_there() -> None:
    client = GrpcClient("grpc://127.0.0.1:1", clock=asyncio.get_running_loop().time)
    with pytest.raises(Unreachable, match=r"not ready after 0\.1 s"):
        await client.ready(0.1)
    await client.close()
