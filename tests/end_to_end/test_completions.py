"""Completions and chats of the real service over the tiny model: the same answer whichever way it is asked for."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.requests import CHAT, COMPLETIONS, GREEDY, SEEDED, joined, stream
from tests.end_to_end.server import LIMIT_S, Server, post

CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a sponge?"}]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
        yield client


def counts(body: dict[str, Any]) -> dict[str, int]:
    """Usage but for what was found in the cache: whoever asks again finds more."""
    return {name: count for name, count in body["usage"].items() if name != "prompt_tokens_details"}


@pytest.mark.parametrize("body", [GREEDY, SEEDED], ids=["greedy", "seeded"])
async def test_streamed_and_plain_completions_say_the_same(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    plain = (await client.post(COMPLETIONS, json=body)).json()
    (choice,) = plain["choices"]
    assert choice["finish_reason"] == "length"
    assert len(choice["logprobs"]["tokens"]) == 40
    assert plain["usage"]["completion_tokens"] == 40
    *chunks, usage = await stream(client, COMPLETIONS, {**body, "stream_options": {"include_usage": True}})
    assert joined(chunks) == choice
    assert counts(usage) == counts(plain)


async def test_streamed_and_plain_chats_say_the_same(client: httpx.AsyncClient) -> None:
    body = {"messages": CONVERSATION, "temperature": 0, "max_tokens": 40, "logprobs": True, "top_logprobs": 3}
    plain = (await client.post(CHAT, json=body)).json()
    (choice,) = plain["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    first, *chunks = await stream(client, CHAT, body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    deltas = [chunk["choices"][0] for chunk in chunks]
    assert "".join(delta["delta"].get("content", "") for delta in deltas) == choice["message"]["content"]
    assert [entry for delta in deltas for entry in delta["logprobs"]["content"]] == choice["logprobs"]["content"]
    assert deltas[-1]["finish_reason"] == choice["finish_reason"]


async def test_a_chat_is_the_completion_of_its_template(client: httpx.AsyncClient) -> None:
    prompt = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in CONVERSATION)
    completion = {"prompt": f"{prompt}<|im_start|>assistant\n", "temperature": 0, "max_tokens": 20}
    chat = {"messages": CONVERSATION, "temperature": 0, "max_tokens": 20}
    by_prompt, by_messages = [
        (await client.post(p, json=b)).json() for p, b in ((COMPLETIONS, completion), (CHAT, chat))
    ]
    assert by_prompt["choices"][0]["text"] == by_messages["choices"][0]["message"]["content"]
    assert counts(by_prompt) == counts(by_messages)


async def test_greedy_takes_the_likeliest_token_and_says_it_twice(client: httpx.AsyncClient) -> None:
    first, second = [(await client.post(COMPLETIONS, json=GREEDY)).json()["choices"] for _ in range(2)]
    assert first == second
    logprobs = first[0]["logprobs"]
    for token, logprob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert len(top) == 5
        assert top[token] == logprob == max(top.values()) < 0
        assert list(top.values()) == sorted(top.values(), reverse=True)


async def test_seeds_repeat_and_differ(client: httpx.AsyncClient) -> None:
    async def text(**changes: object) -> str:
        return (await client.post(COMPLETIONS, json={**SEEDED, **changes})).json()["choices"][0]["text"]

    assert await text() == await text()
    assert await text() != await text(seed=1235)
    assert await text(seed=None) != await text(seed=None)
    assert await text(temperature=0) == await text(temperature=0, seed=99) != await text()
    assert await text(top_k=1) == await text(temperature=0)


async def test_a_stop_string_ends_the_text_before_it(client: httpx.AsyncClient) -> None:
    whole = (await client.post(COMPLETIONS, json=GREEDY)).json()["choices"][0]["text"]
    stop = whole[9:12]
    (choice,) = (await client.post(COMPLETIONS, json={**GREEDY, "stop": stop})).json()["choices"]
    assert choice["text"] == whole[: whole.index(stop)]
    assert choice["finish_reason"] == "stop"
    chunks = await stream(client, COMPLETIONS, {**GREEDY, "stop": stop})
    assert joined(chunks) == choice


async def test_several_prompts_are_several_choices(client: httpx.AsyncClient) -> None:
    prompts = ["Once", GREEDY["prompt"], "The other animals"]
    alone = [(await client.post(COMPLETIONS, json={**GREEDY, "prompt": p})).json()["choices"][0] for p in prompts]
    together = (await client.post(COMPLETIONS, json={**GREEDY, "prompt": prompts})).json()["choices"]
    assert together == [{**choice, "index": index} for index, choice in enumerate(alone)]


async def test_token_ids_may_be_given(client: httpx.AsyncClient) -> None:
    body = {**GREEDY, "prompt": [5, 6, 7, 300, 378]}
    (choice,) = (await client.post(COMPLETIONS, json=body)).json()["choices"]
    assert len(choice["logprobs"]["tokens"]) == 40
    assert (await client.post(COMPLETIONS, json={**body, "prompt": [379]})).status_code == 400


async def test_a_request_may_fill_the_context_to_its_last_token(client: httpx.AsyncClient) -> None:
    body = {"prompt": [70] * 4080, "temperature": 0, "ignore_eos": True}
    usage = (await client.post(COMPLETIONS, json={**body, "max_tokens": 100})).json()["usage"]
    assert usage.pop("prompt_tokens_details").keys() == {"cached_tokens"}
    assert usage == {"prompt_tokens": 4080, "completion_tokens": 16, "total_tokens": 4096}
    usage = (await client.post(COMPLETIONS, json={**body, "prompt": [70] * 4095})).json()["usage"]
    # The first prompt's full blocks, but for the last, which its answer has filled.
    assert usage.pop("prompt_tokens_details") == {"cached_tokens": 127 * 32}
    assert usage == {"prompt_tokens": 4095, "completion_tokens": 1, "total_tokens": 4096}


def test_models_and_health(server: Server) -> None:
    (model,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert model["max_model_len"] == 4096
    assert httpx.get(f"{server.url}/v1/models/{model['id']}").json() == model
    assert httpx.get(f"{server.url}/health/ready").status_code == 200
    assert post(server, COMPLETIONS, {**GREEDY, "model": model["id"]})["model"] == model["id"]
