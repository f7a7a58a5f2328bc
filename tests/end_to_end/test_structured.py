"""Structured output by a model whose words are noise: whatever it draws, what comes out is what was asked for."""

import asyncio
import json
import re
from typing import Any

import grpc.aio
import httpx
import jsonschema

from service.rpc.proto.gemmule.v1 import inference_pb2
from tests.end_to_end.requests import CHAT, COMPLETIONS, answers
from tests.end_to_end.server import LIMIT_S, Server
from tests.end_to_end.test_grpc import inference
from tests.service.structured.schemas import NUM_SCHEMAS, schema_of


def asking(schema: dict[str, Any], seed: int) -> dict[str, Any]:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"prompt": "An example:", "response_format": response_format, "seed": seed, "max_tokens": 3000}


async def test_every_schema_is_kept_to_side_by_side(server: Server) -> None:
    indices = range(0, NUM_SCHEMAS, 10)
    for (choice,), index in zip(
        await answers(server.url, [asking(schema_of(index), index) for index in indices]), indices, strict=True
    ):
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["text"]), schema_of(index))


async def test_what_a_format_forces_is_what_would_have_been_drawn(server: Server) -> None:
    """With log probabilities every token is drawn, one a step; without, those that are forced are not."""
    bodies = [asking(schema_of(index), index) for index in range(3, NUM_SCHEMAS, 20)]

    def num_forced() -> float:
        return server.metrics().value("gemmule_forced_tokens_total")

    before = num_forced()
    drawn = await answers(server.url, [{**body, "logprobs": 0} for body in bodies])
    assert num_forced() == before
    forced = await answers(server.url, bodies)
    for (one,), (other,) in zip(drawn, forced, strict=True):
        assert one["text"] == other["text"]
        assert one["logprobs"]
        assert other["logprobs"] is None
    assert num_forced() > before


async def test_every_kind_on_every_face(server: Server) -> None:
    kinds: list[tuple[dict[str, Any], str]] = [
        ({"regex": "[a-c]{3}-[0-9]{2}"}, "[a-c]{3}-[0-9]{2}"),
        ({"choice": ["red", "green"]}, "red|green"),
        ({"grammar": 'root ::= "<" [x-z] ">"'}, "<[x-z]>"),
        ({"json": {"const": [1, "a"]}}, re.escape('[1, "a"]')),
    ]
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client,
        grpc.aio.insecure_channel(server.grpc_address()) as channel,
    ):
        name = (await client.get("/v1/models")).json()["data"][0]["id"]
        for wanted, pattern in kinds:
            options = {"structured_outputs": wanted, "max_tokens": 60, "seed": 5}
            text = {"prompt": "a", **options}
            chat = {"messages": [{"role": "user", "content": "a"}], **options}
            generate = {"text_input": "a", "parameters": options}
            said = [
                (await client.post(COMPLETIONS, json=text)).json()["choices"][0]["text"],
                (await client.post(CHAT, json=chat)).json()["choices"][0]["message"]["content"],
                (await client.post(f"/v2/models/{name}/generate", json=generate)).json()["text_output"],
            ]
            over_grpc = {key: json.dumps(value) if key == "json" else value for key, value in wanted.items()}
            message = inference_pb2.GenerateRequest(
                text="a",
                options=inference_pb2.Options(
                    structured_outputs=inference_pb2.StructuredOutputs(**over_grpc), max_tokens=60, seed=5
                ),
            )
            said.append((await inference(channel).generate(message)).text)
            assert all(re.fullmatch(pattern, answer) for answer in said), said
            assert said[0] == said[3]


async def test_a_required_call_is_made_by_any_model(server: Server) -> None:
    number = {"type": "integer", "minimum": 0, "maximum": 99}
    parameters = {
        "type": "object",
        "properties": {"a": number, "b": number},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    body = {
        "messages": [{"role": "user", "content": "What is 1 + 2?"}],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": parameters}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "max_tokens": 400,
    }
    for (choice,) in await asyncio.gather(answers_of(server, body, 1), answers_of(server, body, 2)):
        (call,) = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls"
        jsonschema.validate(json.loads(call["function"]["arguments"]), parameters)


async def answers_of(server: Server, body: dict[str, Any], seed: int) -> Any:
    return (await answers(server.url, [{**body, "seed": seed}], CHAT))[0]
