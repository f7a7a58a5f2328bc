"""POST /v1/chat/completions: OpenAI's shapes to the letter."""

import re

import pytest

from tests.service.fakes import FakeChatTemplate, FakeRunner, FakeTokenizer
from tests.service.http.api import CREATED_S, MODEL, api, check_error, events_of

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
NUM_PROMPT_TOKENS = len(FakeTokenizer().encode(FakeChatTemplate().render(MESSAGES), False, True))


async def test_plain_response() -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        response = await client.post(PATH, json={"model": MODEL, "messages": MESSAGES})
    assert response.status_code == 200
    body = response.json()
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", body.pop("id"))
    assert body.pop("timings")["predicted_n"] == 7
    assert body == {
        "object": "chat.completion",
        "created": CREATED_S,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello!", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": NUM_PROMPT_TOKENS,
            "completion_tokens": 7,
            "total_tokens": NUM_PROMPT_TOKENS + 7,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


@pytest.mark.parametrize("include_usage", [False, True])
async def test_stream(include_usage: bool) -> None:
    request: dict[str, object] = {"messages": MESSAGES, "stream": True}
    if include_usage:
        request["stream_options"] = {"include_usage": True}
    async with api(FakeRunner(script=b"Hello!")) as client:
        chunks = events_of(await client.post(PATH, json=request))
    (id,) = {chunk.pop("id") for chunk in chunks}
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", id)
    head: dict[str, object] = {"object": "chat.completion.chunk", "created": CREATED_S, "model": MODEL}
    if include_usage:
        usage = chunks.pop()
        counts = {
            "prompt_tokens": NUM_PROMPT_TOKENS,
            "completion_tokens": 7,
            "total_tokens": NUM_PROMPT_TOKENS + 7,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        assert usage == {**head, "choices": [], "usage": counts}
        head["usage"] = None
    assert chunks[-1].pop("timings")["prompt_per_second"] > 0
    choices = [chunk.pop("choices") for chunk in chunks]
    assert all(chunk == head for chunk in chunks)
    first, *rest = [choice for (choice,) in choices]
    assert first == {
        "index": 0,
        "delta": {"role": "assistant", "content": "", "refusal": None},
        "logprobs": None,
        "finish_reason": None,
    }
    assert "".join(choice["delta"].get("content", "") for choice in rest) == "Hello!"
    assert [choice["finish_reason"] for choice in rest] == [None] * (len(rest) - 1) + ["stop"]
    assert all(set(choice) == {"index", "delta", "logprobs", "finish_reason"} for choice in rest)


async def test_a_chat_without_max_tokens_goes_on_to_the_end_of_the_context() -> None:
    async with api(FakeRunner(), max_context=128) as client:
        body = (await client.post(PATH, json={"messages": MESSAGES})).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == 128


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_both_names_of_the_limit(name: str) -> None:
    async with api(FakeRunner()) as client:
        body = (await client.post(PATH, json={"messages": MESSAGES, name: 5})).json()
    assert body["usage"]["completion_tokens"] == 5


async def test_logprobs() -> None:
    async with api(FakeRunner(script="é".encode())) as client:
        plain = (await client.post(PATH, json={"messages": MESSAGES, "logprobs": True})).json()
        top = (await client.post(PATH, json={"messages": MESSAGES, "logprobs": True, "top_logprobs": 2})).json()
        chunks = events_of(
            await client.post(PATH, json={"messages": MESSAGES, "logprobs": True, "stream": True, "top_logprobs": 2})
        )
    assert plain["choices"][0]["logprobs"] == {
        "content": [
            {"token": "�", "logprob": -0.5, "bytes": [0xC3], "top_logprobs": []},
            {"token": "�", "logprob": -0.5, "bytes": [0xA9], "top_logprobs": []},
        ],
        "refusal": None,
    }
    content = top["choices"][0]["logprobs"]["content"]
    assert content[0]["top_logprobs"] == [
        {"token": "�", "logprob": -0.5, "bytes": [0xC3]},
        {"token": "\x00", "logprob": -1.5, "bytes": [0]},
    ]
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert streamed[0] is None
    assert [token for logprobs in streamed[1:] for token in logprobs["content"]] == content


async def test_developer_is_the_system_role_and_parts_are_text() -> None:
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    newer = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}], "name": "me"},
    ]
    async with api(FakeRunner()) as client:
        answers = [
            (await client.post(PATH, json={"messages": messages, "temperature": 0, "max_tokens": 9})).json()["choices"]
            for messages in (plain, newer)
        ]
    assert answers[0] == answers[1]


async def test_a_model_without_chat_template_says_so() -> None:
    async with api(FakeRunner(), has_chat_template=False) as client:
        response = await client.post(PATH, json={"messages": MESSAGES})
        assert "chat template" in check_error(response, 400, code="invalid_request", param="messages")
