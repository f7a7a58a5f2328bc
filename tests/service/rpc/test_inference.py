"""gemmule.v1.Inference: the same tokens as over HTTP, streamed and not; refusals, deadlines and cancellation."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.rpc.proto.gemmule.v1 import inference_pb2 as pb
from tests.service.fakes import BOS, EOS, FakeRunner
from tests.service.http.api import api as http_api
from tests.service.rpc.api import MODEL, Api, api


def text(prompt: str, **options: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(text=prompt, options=pb.Options(**options))


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    metadata = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(metadata["grpc-status-details-bin"])


async def until_idle(api: Api) -> None:
    async with asyncio.timeout(10):
        while api.engine.stats().num_running or api.engine.stats().num_used_blocks:
            await asyncio.sleep(0.005)


async def test_generate() -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        answer = await client.inference.generate(text("Say it", max_tokens=20))
    assert answer.model == MODEL
    assert answer.text == "Hello!"
    assert answer.finish_reason == pb.FINISH_REASON_STOP
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 7)
    assert list(answer.token_ids) == [*b"Hello!", EOS]
    assert answer.request_id.startswith("gen-")
    assert not answer.tokens


async def test_generate_stream_says_the_same_step_by_step() -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        chunks = [chunk async for chunk in client.inference.generate_stream(text("Say it", logprobs=2))]
    assert "".join(chunk.text for chunk in chunks) == "Hello!"
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [pb.FINISH_REASON_UNSPECIFIED] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == pb.FINISH_REASON_STOP
    assert [token for chunk in chunks for token in chunk.token_ids] == [*b"Hello!", EOS]
    tokens = [token for chunk in chunks for token in chunk.tokens]
    assert [token.piece for token in tokens] == [bytes([byte]) for byte in b"Hello!"]
    assert all(token.logprob == -0.5 and len(token.top) == 2 for token in tokens)


async def test_every_kind_of_prompt_and_the_same_tokens_as_http() -> None:
    sampling = {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 7, "max_tokens": 30}
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    async with api(FakeRunner()) as client, http_api(FakeRunner()) as http:
        for request, path, body in (
            (text("abc", **sampling), "/v1/completions", {"prompt": "abc"}),
            (
                pb.GenerateRequest(token_ids=pb.TokenIds(ids=[BOS, *b"abc"]), options=pb.Options(**sampling)),
                "/v1/completions",
                {"prompt": [BOS, *b"abc"]},
            ),
            (
                pb.GenerateRequest(
                    chat=pb.Chat(messages=[pb.Message(**message) for message in messages]),
                    options=pb.Options(**sampling),
                ),
                "/v1/chat/completions",
                {"messages": messages},
            ),
        ):
            answer = await client.inference.generate(request)
            (choice,) = (await http.post(path, json={**body, **sampling})).json()["choices"]
            said = choice["text"] if "text" in choice else choice["message"]["content"]
            assert answer.text == said
            assert len(answer.token_ids) == 30


async def test_stop_strings_end_the_answer() -> None:
    async with api(FakeRunner(script=b"one two three")) as client:
        answer = await client.inference.generate(text("a", stop=["two"]))
    assert (answer.text, answer.finish_reason) == ("one ", pb.FINISH_REASON_STOP)


@pytest.mark.parametrize(
    ("request_", "code", "field", "says"),
    [
        (pb.GenerateRequest(), "INVALID_ARGUMENT", "prompt", "one of 'text'"),
        (text("a", temperature=3.0), "INVALID_ARGUMENT", "temperature", "less than or equal to 2"),
        (text("a", temperature=float("nan")), "INVALID_ARGUMENT", "temperature", "'temperature'"),
        (text("a", stop=[""]), "INVALID_ARGUMENT", "stop", "1 to 1024 characters"),
        (text("a", max_tokens=0), "INVALID_ARGUMENT", "max_tokens", "greater than or equal to 1"),
        (text("a", logprobs=21), "INVALID_ARGUMENT", "logprobs", "less than or equal to 20"),
        (pb.GenerateRequest(token_ids=pb.TokenIds(ids=[999])), "INVALID_ARGUMENT", "prompt", "token 0"),
        (pb.GenerateRequest(chat=pb.Chat()), "INVALID_ARGUMENT", "messages", "'messages' is required"),
        (
            pb.GenerateRequest(chat=pb.Chat(messages=[pb.Message(role="king", content="a")])),
            "INVALID_ARGUMENT",
            "messages[0].role",
            "'system'",
        ),
        (pb.GenerateRequest(model="other", text="a"), "NOT_FOUND", None, "no model is called 'other'"),
        (text("a" * 5000), "INVALID_ARGUMENT", "prompt", "context"),
    ],
)
async def test_refusals_have_a_status_and_details(
    request_: pb.GenerateRequest, code: str, field: str | None, says: str
) -> None:
    async with api(FakeRunner()) as client:
        for call in (
            client.inference.generate(request_),
            anext(aiter(client.inference.generate_stream(request_))),
        ):
            error = await refused(call)
            assert error.code().name == code
            assert says in (error.details() or "")
            status = details_of(error)
            assert (status.code, status.message) == (grpc.StatusCode[code].value[0], error.details())
            info = error_details_pb2.ErrorInfo()
            assert status.details[0].Unpack(info)
            assert info.domain == "gemmule"
            assert info.reason
            if field is not None:
                violations = error_details_pb2.BadRequest()
                assert status.details[1].Unpack(violations)
                assert [violation.field for violation in violations.field_violations] == [field]


async def test_a_full_queue_says_when_to_come_again() -> None:
    runner = FakeRunner()
    runner.hold()
    async with api(runner, max_batch=1, max_queue=1) as client:
        waiting = [client.inference.generate(text("a", max_tokens=1)) for _ in range(2)]
        calls = [asyncio.ensure_future(call.code()) for call in waiting]
        async with asyncio.timeout(10):
            while client.engine.stats().num_queued + client.engine.stats().num_running < 2:
                await asyncio.sleep(0.005)
        error = await refused(client.inference.generate(text("a")))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        retry = error_details_pb2.RetryInfo()
        assert details_of(error).details[-1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == 1000
        runner.let_go()
        assert await asyncio.gather(*calls) == [grpc.StatusCode.OK] * 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline_frees_the_blocks(stream: bool) -> None:
    runner = FakeRunner(step_s=0.005)
    async with api(runner) as client:
        request = text("a", max_tokens=900)
        if stream:
            call = client.inference.generate_stream(request, timeout=0.2)
            assert (await anext(aiter(call))).text
            code = await call.code()
        else:
            code = (await refused(client.inference.generate(request, timeout=0.2))).code()
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await until_idle(client)
        assert len(runner.plans) < 900
        value = client.registry.get_sample_value
        method = f"gemmule.v1.Inference/Generate{'Stream' if stream else ''}"
        labels = {"method": method, "code": "CANCELLED"}
        async with asyncio.timeout(10):
            while value("gemmule_grpc_requests_total", labels) != 1:
                await asyncio.sleep(0.005)
        assert value("gemmule_grpc_requests_in_flight") == 0


async def test_a_cancelled_stream_costs_no_further_step() -> None:
    runner = FakeRunner()
    runner.hold()
    async with api(runner) as client:
        call = client.inference.generate_stream(text("a", max_tokens=900))
        runner.allow(3)
        assert (await anext(aiter(call))).text
        call.cancel()
        async with asyncio.timeout(10):
            while client.serving.models[0].generator.open_requests:
                await asyncio.sleep(0.005)
        num_steps = len(runner.plans)
        runner.let_go()
        await until_idle(client)
        # The step under way when the engine heard of it, at most.
        assert len(runner.plans) <= num_steps + 1


async def test_tokenize_and_detokenize() -> None:
    async with api(FakeRunner()) as client:
        call = client.inference.tokenize
        assert list((await call(pb.TokenizeRequest(text="abc"))).token_ids) == [BOS, *b"abc"]
        plain = await call(pb.TokenizeRequest(text="abc", add_special=False, with_pieces=True))
        assert (list(plain.token_ids), list(plain.pieces)) == ([*b"abc"], [b"a", b"b", b"c"])
        chat = pb.Chat(messages=[pb.Message(role="user", content="Hi")])
        assert (await call(pb.TokenizeRequest(chat=chat))).token_ids
        assert list((await call(pb.TokenizeRequest(add_special=False))).token_ids) == []
        back = await client.inference.detokenize(pb.DetokenizeRequest(token_ids=[BOS, *b"abc"]))
        assert back.text == "<|bos|>abc"
        error = await refused(client.inference.detokenize(pb.DetokenizeRequest(token_ids=[4000])))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_beyond_the_limit_is_refused() -> None:
    async with api(FakeRunner(), max_body=1000) as client:
        error = await refused(client.inference.generate(text("a" * 2000)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_bug_is_internal_and_says_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    async with api(FakeRunner()) as client:
        client.serving.models[0].generator.open_requests = None  # type: ignore[assignment]
        error = await refused(client.inference.generate(text("a")))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "gemmule.v1.Inference/Generate failed" in caplog.text
