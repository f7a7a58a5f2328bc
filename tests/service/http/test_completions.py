"""POST /v1/completions: OpenAI's shapes to the letter, with a model whose words are known."""

import asyncio
import re

import httpx
import pytest

from tests.service.fakes import BOS, EOS, FakeRunner
from tests.service.http.api import CREATED_S, MODEL, api, check_error, events_of

PATH = "/v1/completions"


async def test_plain_response() -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        response = await client.post(PATH, json={"model": MODEL, "prompt": "Say it"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert re.fullmatch(r"cmpl-[0-9a-f]{24}", body.pop("id"))
    assert body.pop("timings")["predicted_n"] == 7
    assert body == {
        "object": "text_completion",
        "created": CREATED_S,
        "model": MODEL,
        "choices": [{"index": 0, "text": "Hello!", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 7,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


async def test_sixteen_tokens_if_max_tokens_is_not_given() -> None:
    async with api(FakeRunner()) as client:
        body = (await client.post(PATH, json={"prompt": "a"})).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert len(body["choices"][0]["text"]) == 16
    assert body["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 16,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@pytest.mark.parametrize("include_usage", [False, True])
async def test_stream(include_usage: bool) -> None:
    request = {"prompt": "Say it", "stream": True}
    if include_usage:
        request["stream_options"] = {"include_usage": True}
    async with api(FakeRunner(script=b"Hello!")) as client:
        chunks = events_of(await client.post(PATH, json=request))
    (id,) = {chunk.pop("id") for chunk in chunks}
    assert re.fullmatch(r"cmpl-[0-9a-f]{24}", id)
    head = {"object": "text_completion", "created": CREATED_S, "model": MODEL}
    if include_usage:
        usage = chunks.pop()
        assert usage == {
            **head,
            "choices": [],
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": 7,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        }
        head["usage"] = None
    assert chunks[-1].pop("timings")["prompt_per_second"] > 0
    choices = [chunk.pop("choices") for chunk in chunks]
    assert all(chunk == head for chunk in chunks)
    assert all(len(choice) == 1 for choice in choices)
    assert "".join(choice["text"] for (choice,) in choices) == "Hello!"
    assert [choice["finish_reason"] for (choice,) in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert all(set(choice) == {"index", "text", "logprobs", "finish_reason"} for (choice,) in choices)
    assert all(choice["index"] == 0 and choice["logprobs"] is None for (choice,) in choices)


async def test_token_ids_and_text_are_the_same_prompt() -> None:
    async with api(FakeRunner()) as client:
        text = (await client.post(PATH, json={"prompt": "abc", "temperature": 0})).json()
        ids = (await client.post(PATH, json={"prompt": [BOS, *b"abc"], "temperature": 0})).json()
    assert text["choices"] == ids["choices"]
    assert text["usage"] == ids["usage"]


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_are_choices_in_order(stream: bool) -> None:
    prompts = ["a", "bb", "ccc"]
    options = {"temperature": 0, "max_tokens": 8}
    async with api(FakeRunner()) as client:
        alone = [(await client.post(PATH, json={"prompt": prompt, **options})).json() for prompt in prompts]
        request = {"prompt": prompts, **options}
        if stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
            chunks = events_of(await client.post(PATH, json=request))
            usage = chunks.pop()["usage"]
            texts = ["", "", ""]
            for chunk in chunks:
                (choice,) = chunk["choices"]
                texts[choice["index"]] += choice["text"]
            reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
            assert reasons.count("length") == 3
        else:
            body = (await client.post(PATH, json=request)).json()
            usage = body["usage"]
            assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
            texts = [choice["text"] for choice in body["choices"]]
    assert texts == [body["choices"][0]["text"] for body in alone]
    assert usage == {
        "prompt_tokens": 9,
        "completion_tokens": 24,
        "total_tokens": 33,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


async def test_several_prompts_run_side_by_side() -> None:
    runner = FakeRunner()
    runner.hold()
    async with api(runner) as client:
        response = asyncio.ensure_future(client.post(PATH, json={"prompt": [[1], [2], [3], [4]], "max_tokens": 8}))
        await runner.next_step()  # the first runs alone at most this one step
        runner.let_go()
        assert (await response).status_code == 200
    assert max(len(plan) for plan in runner.plans) == 4


async def test_a_prompt_that_is_refused_takes_the_others_with_it() -> None:
    runner = FakeRunner()
    async with api(runner) as client:
        response = await client.post(PATH, json={"prompt": [[1], [2], [99_999]], "max_tokens": 500})
        message = check_error(response, 400, code="invalid_request", param="prompt")
        assert "99999" in message
        while (await gauge(client, "gemmule_requests_running")) or (await gauge(client, "gemmule_requests_waiting")):
            pass
        assert await gauge(client, "gemmule_kv_blocks_used") == 0


async def gauge(client: httpx.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    (value,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(value)


async def test_seed_repeats_and_seeds_differ() -> None:
    async with api(FakeRunner()) as client:

        async def text(**fields: object) -> str:
            body = (await client.post(PATH, json={"prompt": "a", "max_tokens": 32, **fields})).json()
            return str(body["choices"][0]["text"])

        assert await text(seed=7) == await text(seed=7)
        assert await text(seed=7) != await text(seed=8)
        assert await text(seed=-1) == await text(seed=-1)
        assert await text() != await text()
        assert await text(temperature=0) == await text(temperature=0, seed=3)


@pytest.mark.parametrize(("stop", "text"), [("lo", "Hel"), (["x", "l"], "He"), ("o w", "Hell"), ("zz", "Hello world")])
@pytest.mark.parametrize("stream", [False, True])
async def test_stop_strings(stop: object, text: str, stream: bool) -> None:
    async with api(FakeRunner(script=b"Hello world")) as client:
        response = await client.post(PATH, json={"prompt": "a", "stop": stop, "stream": stream})
        bodies = events_of(response) if stream else [response.json()]
    choices = [body["choices"][0] for body in bodies]
    assert "".join(choice["text"] for choice in choices) == text
    assert choices[-1]["finish_reason"] == "stop"


async def test_stop_token_ids_ignore_eos_and_min_tokens() -> None:
    async with api(FakeRunner(script=b"ab")) as client:

        async def choice(**fields: object) -> tuple[str, str]:
            (choice,) = (await client.post(PATH, json={"prompt": "a", **fields})).json()["choices"]
            return choice["text"], choice["finish_reason"]

        assert await choice() == ("ab", "stop")
        assert await choice(stop_token_ids=[ord("b")]) == ("a", "stop")
        assert await choice(ignore_eos=True, max_tokens=5) == ("ab", "length")
        assert await choice(min_tokens=9, max_tokens=8) == ("ab", "length")


async def test_logprobs() -> None:
    async with api(FakeRunner(script="hé!".encode())) as client:
        body = (await client.post(PATH, json={"prompt": "a", "logprobs": 2})).json()
    (choice,) = body["choices"]
    assert choice["text"] == "hé!"
    logprobs = choice["logprobs"]
    assert set(logprobs) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert logprobs["tokens"] == ["h", "bytes:\\xc3", "bytes:\\xa9", "!"]
    assert logprobs["token_logprobs"] == [-0.5] * 4
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    assert logprobs["top_logprobs"][0] == {"h": -0.5, "\x00": -1.5}


async def test_special_tokens_are_named_but_hidden() -> None:
    async with api(FakeRunner(script=[*b"a", EOS, *b"b"])) as client:
        body = {"prompt": "x", "ignore_eos": True, "max_tokens": 3, "logprobs": 0}
        (choice,) = (await client.post(PATH, json=body)).json()["choices"]
    assert choice["text"] == "ab"
    assert choice["logprobs"]["tokens"] == ["a", "<|eos|>", "b"]
    assert choice["logprobs"]["text_offset"] == [0, 1, 1]


async def test_streamed_logprobs_add_up_to_the_plain_ones() -> None:
    async with api(FakeRunner(script="hé, ça va?".encode())) as client:
        request = {"prompt": "a", "logprobs": 1, "stop": "va"}
        plain = (await client.post(PATH, json=request)).json()["choices"][0]["logprobs"]
        chunks = events_of(await client.post(PATH, json=request | {"stream": True}))
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    for name in plain:
        assert [value for logprobs in streamed for value in logprobs[name]] == plain[name]


async def test_logprobs_0_gives_no_alternatives() -> None:
    async with api(FakeRunner(script=b"ab")) as client:
        body = (await client.post(PATH, json={"prompt": "a", "logprobs": 0})).json()
    assert body["choices"][0]["logprobs"]["tokens"] == ["a", "b"]
    assert body["choices"][0]["logprobs"]["top_logprobs"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_with_logprobs_has_those_of_the_prompt(stream: bool) -> None:
    request = {"prompt": "aé!", "echo": True, "logprobs": 1, "stream": stream}
    async with api(FakeRunner(script="ñx".encode()), max_batch=3) as client:
        response = await client.post(PATH, json=request)
        (choice, *more) = [body["choices"][0] for body in (events_of(response) if stream else [response.json()])]
        for chunk in more:
            choice["text"] += chunk["text"]
            for name, values in chunk["logprobs"].items():
                choice["logprobs"][name] += values
        plain = (await client.post(PATH, json=request | {"echo": False, "stream": False})).json()["choices"][0]
    assert choice["text"] == "aé!ñx"
    logprobs = choice["logprobs"]
    assert logprobs["tokens"][:5] == ["<|bos|>", "a", "bytes:\\xc3", "bytes:\\xa9", "!"]
    assert logprobs["token_logprobs"][:5] == [None, *(-byte / 256 for byte in "aé!".encode())]
    assert logprobs["top_logprobs"][:2] == [None, {"\x00": -0.1, "a": -ord("a") / 256}]
    assert logprobs["text_offset"] == [0, 0, 1, 1, 2, *(3 + offset for offset in plain["logprobs"]["text_offset"])]
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        assert logprobs[name][5:] == plain["logprobs"][name]


async def test_echo_alone_of_several_prompts() -> None:
    """As evaluation harnesses ask: the prompts are scored, and nothing is added to them."""
    request = {"prompt": [[*b"abc"], [ord("d")]], "echo": True, "logprobs": 0, "max_tokens": 0}
    async with api(FakeRunner()) as client:
        body = (await client.post(PATH, json=request)).json()
        message = check_error(
            await client.post(PATH, json=request | {"echo": False}), 400, code="invalid_request", param="max_tokens"
        )
    assert "echo" in message
    assert [choice["text"] for choice in body["choices"]] == ["abc", "d"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["length", "length"]
    assert body["choices"][0]["logprobs"]["token_logprobs"] == [None, -98 / 256, -99 / 256]
    assert body["choices"][1]["logprobs"]["token_logprobs"] == [None]
    assert body["usage"]["completion_tokens"] == 0


async def test_characters_are_never_split_between_chunks() -> None:
    text = "añ→🌱"
    async with api(FakeRunner(script=text.encode())) as client:
        chunks = events_of(await client.post(PATH, json={"prompt": "a", "stream": True, "max_tokens": 20}))
    pieces = [chunk["choices"][0]["text"] for chunk in chunks]
    assert "".join(pieces) == text
    assert not any("�" in piece for piece in pieces)
