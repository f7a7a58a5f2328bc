"""Several choices of a prompt: n, best_of, echo, and what each costs."""

from typing import Any

import pytest

from tests.service.fakes import BOS, EOS, FakeRunner
from tests.service.http.api import api, check_error, events_of

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
PROMPTS: dict[str, Any] = {COMPLETIONS: {"prompt": "ab"}, CHAT: {"messages": [{"role": "user", "content": "a"}]}}


async def test_n_choices_of_each_prompt_and_the_prompt_counts_once() -> None:
    body = {"prompt": ["ab", "cdef"], "n": 3, "max_tokens": 10, "seed": 5}
    async with api(FakeRunner()) as client:
        answer = (await client.post(COMPLETIONS, json=body)).json()
        again = (await client.post(COMPLETIONS, json=body)).json()
        alone = (await client.post(COMPLETIONS, json={**body, "prompt": "ab", "n": 1})).json()
    texts = [choice["text"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert len(set(texts)) == 6
    assert texts == [choice["text"] for choice in again["choices"]]
    assert texts[0] == alone["choices"][0]["text"], "the first sample is that of the seed itself"
    assert answer["usage"]["prompt_tokens"] == 3 + 5
    assert answer["usage"]["completion_tokens"] == 60
    assert "timings" not in answer
    assert "timings" in alone


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
async def test_n_streamed_is_n_collected(path: str) -> None:
    prompt: dict[str, Any] = (
        {"prompt": "ab"} if path == COMPLETIONS else {"messages": [{"role": "user", "content": "a"}]}
    )
    body = {**prompt, "n": 2, "max_tokens": 8, "seed": 1}
    async with api(FakeRunner()) as client:
        answer = (await client.post(path, json=body)).json()
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = events_of(await client.post(path, json={**body, **options}))
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice.get("text") or choice.get("delta", {}).get("content") or ""
    assert texts == [choice.get("text") or choice["message"]["content"] for choice in answer["choices"]]
    assert chunks[-1]["usage"] == answer["usage"]
    assert answer["usage"]["completion_tokens"] == 16


async def test_best_of_sends_the_likeliest() -> None:
    """The fake's tokens are all alike, so that the longest mean is a tie: the first ones stay, and all are paid for."""
    body = {"prompt": "ab", "n": 2, "best_of": 5, "max_tokens": 4, "seed": 3}
    async with api(FakeRunner()) as client:
        answer = (await client.post(COMPLETIONS, json=body)).json()
        many = (await client.post(COMPLETIONS, json={**body, "n": 5})).json()
        refused = await client.post(COMPLETIONS, json={**body, "stream": True})
    assert [choice["text"] for choice in answer["choices"]] == [choice["text"] for choice in many["choices"][:2]]
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 20
    check_error(refused, 400, code="unsupported_parameter", param="best_of")


@pytest.mark.parametrize("stream", [False, True])
async def test_echo(stream: bool) -> None:
    async with api(FakeRunner(script=b"!")) as client:
        for prompt, shown in (("Say", "Say"), ([BOS, *b"Say"], "<|bos|>Say")):
            response = await client.post(COMPLETIONS, json={"prompt": prompt, "echo": True, "n": 2, "stream": stream})
            chunks = events_of(response) if stream else [response.json()]
            texts = ["", ""]
            for choice in (choice for chunk in chunks for choice in chunk["choices"]):
                texts[choice["index"]] += choice["text"]
            assert texts == [f"{shown}!"] * 2


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
async def test_token_ids_on_request(path: str) -> None:
    prompt: dict[str, Any] = (
        {"prompt": "ab"} if path == COMPLETIONS else {"messages": [{"role": "user", "content": "a"}]}
    )
    async with api(FakeRunner(script=b"Hi")) as client:
        answer = (await client.post(path, json={**prompt, "return_token_ids": True})).json()
        chunks = events_of(await client.post(path, json={**prompt, "return_token_ids": True, "stream": True}))
    assert answer["choices"][0]["token_ids"] == [*b"Hi", EOS]
    streamed = [id for chunk in chunks for choice in chunk["choices"] for id in choice.get("token_ids", ())]
    assert streamed == [*b"Hi", EOS]
