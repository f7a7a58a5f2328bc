"""What is there beside OpenAI's routes: tokens, templates, KServe's /v2, kernels; and streams long silent."""

import asyncio

import pytest

from service.engine.request import DrafterKind, Dry, MirostatParams
from tests.service.fakes import BOS, FakeRunner
from tests.service.http.api import MODEL, api, check_error
from tests.service.http.test_sockets import server

HI = [{"role": "user", "content": "Hi"}]


async def test_tokenize_and_back() -> None:
    async with api(FakeRunner()) as client:
        for body, tokens in (
            ({"content": "abc"}, [*b"abc"]),
            ({"content": "abc", "add_special": True}, [BOS, *b"abc"]),
            ({"prompt": "abc"}, [BOS, *b"abc"]),
            ({"prompt": "abc", "add_special_tokens": False}, [*b"abc"]),
            ({"content": ""}, []),
        ):
            answer = (await client.post("/tokenize", json=body)).json()
            assert (answer["tokens"], answer["count"], answer["max_model_len"]) == (tokens, len(tokens), 1024)
        pieces = (await client.post("/tokenize", json={"content": "é", "with_pieces": True})).json()["tokens"]
        assert pieces == [{"id": 0xC3, "piece": [0xC3]}, {"id": 0xA9, "piece": [0xA9]}]
        strings = (await client.post("/tokenize", json={"content": "ab", "return_token_strs": True})).json()
        assert strings["token_strs"] == ["a", "b"]
        rendered = (await client.post("/apply-template", json={"messages": HI})).json()["prompt"]
        chat = (await client.post("/tokenize", json={"messages": HI})).json()["tokens"]
        assert (await client.post("/detokenize", json={"tokens": chat})).json()["content"] == rendered
        check_error(
            await client.post("/detokenize", json={"tokens": [999]}), 400, code="invalid_request", param="tokens"
        )
        for body in ({}, {"content": "a", "prompt": "a"}):
            check_error(await client.post("/tokenize", json=body), 400, code="invalid_request", param="content")
    async with api(FakeRunner(), has_chat_template=False) as client:
        response = await client.post("/apply-template", json={"messages": HI})
        check_error(response, 400, code="invalid_request", param="messages")


async def test_kserve() -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        assert (await client.get("/v2")).json()["name"] == "gemmule"
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        for path in (f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/1"):
            assert (await client.get(path)).json()["inputs"][0]["name"] == "text_input"
            assert (await client.get(f"{path}/ready")).json() == {"name": MODEL, "ready": True}
            body = {"text_input": "Say it", "id": "mine", "parameters": {"max_tokens": 3, "logprobs": 0}}
            answer = (await client.post(f"{path}/generate", json=body)).json()
            assert (answer["text_output"], answer["id"], answer["model_version"]) == ("Hel", "mine", "1")
            assert [token["text"] for token in answer["details"]["logprobs"]] == list("Hel")
            streamed = (await client.post(f"{path}/generate_stream", json=body)).text
            assert streamed.count('"done":true') == 1
            assert streamed.endswith('"done":true}\n\n')
        check_error(await client.get("/v2/models/other"), 404, code="model_not_found", param="model")
        check_error(await client.get(f"/v2/models/{MODEL}/versions/2"), 404, code="not_found", param="version")
        path = f"/v2/models/{MODEL}/generate"
        wrong = {"text_input": "a", "parameters": {"tempurature": 1}}
        check_error(await client.post(path, json=wrong), 400, code="unknown_parameter", param="parameters.tempurature")
        check_error(await client.post(path, json={}), 400, code="invalid_request", param="text_input")


async def test_kernels() -> None:
    async with api(FakeRunner()) as client:
        assert (await client.get("/v1/kernels")).json() == {"model": MODEL, "ops": []}


@pytest.mark.parametrize("path", ["/v1/completions", f"/v2/models/{MODEL}/generate_stream"])
async def test_a_silent_stream_says_that_it_is_alive(path: str) -> None:
    runner = FakeRunner(script=b"Hi")
    runner.hold()
    body = {"prompt": "a", "stream": True} if path == "/v1/completions" else {"text_input": "a"}
    async with server(runner, sse_keep_alive_s=0.02) as client, client.stream("POST", path, json=body) as response:
        lines = (line async for line in response.aiter_lines() if line)
        async with asyncio.timeout(10):
            assert [await anext(lines) for _ in range(3)] == [": keep-alive"] * 3
            runner.let_go()
            rest = [line async for line in lines if line != ": keep-alive"]
    assert rest[0].startswith("data: {")


async def test_the_further_samplers_reach_the_engine() -> None:
    seen = []

    class Runner(FakeRunner):
        def run(self, plan):  # type: ignore[no-untyped-def]
            seen.extend(chunk.sequence.request for chunk in plan.chunks)
            return super().run(plan)

    body = {
        "typical_p": 0.9,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "mirostat": 2,
        "mirostat_tau": 4.0,
        "dry_multiplier": 0.8,
        "dry_allowed_length": 3,
        "dry_sequence_breakers": ["b"],
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"5": 1.5, "7": -100},
        "allowed_token_ids": [1, 2, 3],
        "bad_words": ["no"],
        "priority": -3,
        "timeout_s": 60,
        "cache_salt": "tenant",
        "drafter": "prompt_lookup",
    }
    async with api(Runner()) as client:
        response = await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1, **body})
        assert response.status_code == 200
    sampling = seen[0].sampling
    assert (sampling.typical_p, sampling.repetition_penalty) == (0.9, 1.1)
    assert (sampling.xtc_probability, sampling.xtc_threshold) == (0.5, 0.2)
    assert sampling.mirostat == MirostatParams(tau=4.0)
    assert sampling.dry == Dry(multiplier=0.8, allowed_length=3, breaker_ids=frozenset({ord("b"), BOS}))
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -0.5)
    assert dict(sampling.logit_bias) == {5: 1.5, 7: float("-inf")}
    assert sampling.allowed_token_ids == {1, 2, 3}
    assert set(sampling.bad_words) == {tuple(b"no"), tuple(b" no")}
    assert (seen[0].priority, seen[0].cache_salt) == (-3, "tenant")
    assert seen[0].drafter is DrafterKind.PROMPT_LOOKUP
    assert seen[0].deadline_s - seen[0].arrival_s == pytest.approx(60)
