"""Tools, structured output and thoughts over HTTP, with a model whose words are known."""

import json
from typing import Any

import pytest

from tests.service.fakes import FakeRunner
from tests.service.http.api import api, check_error, events_of

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "What is 1 + 2?"}]
ADD = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}
CALL = b'<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


async def test_a_call_is_parsed() -> None:
    async with api(FakeRunner(script=b"Wait.\n" + CALL)) as client:
        answer = (await client.post(CHAT, json={"messages": HI, "tools": [ADD]})).json()
        untold = (await client.post(CHAT, json={"messages": HI})).json()
        none = (await client.post(CHAT, json={"messages": HI, "tools": [ADD], "tool_choice": "none"})).json()
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Wait."
    (call,) = choice["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"]) == {"a": 1, "b": 2}
    for plain in (untold, none):
        assert plain["choices"][0]["finish_reason"] == "stop"
        assert plain["choices"][0]["message"]["content"] == (b"Wait.\n" + CALL).decode()
    assert answer["usage"]["prompt_tokens"] > none["usage"]["prompt_tokens"], "the model is told of its tools"


async def test_an_output_that_cannot_go_on_is_the_request_s_doing() -> None:
    """The fake model heeds no mask: its first word is one that the schema rules out."""
    body = {"messages": HI, "response_format": {"type": "json_object"}}
    async with api(FakeRunner(script=b"abc")) as client:
        message = check_error(await client.post(CHAT, json=body), 400, code="output_stuck", param="response_format")
        *_, last = events_of(await client.post(CHAT, json={**body, "stream": True}))
        fine = await client.post(CHAT, json={"messages": HI})
    assert "cannot be followed any further" in message
    assert last["error"]["code"] == "output_stuck"
    assert fine.status_code == 200


async def test_a_call_is_streamed() -> None:
    async with api(FakeRunner(script=CALL)) as client:
        chunks = events_of(await client.post(CHAT, json={"messages": HI, "tools": [ADD], "stream": True}))
    deltas = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    first, *rest = deltas
    assert (first["index"], first["type"], first["function"]["name"]) == (0, "function", "add")
    assert all(set(delta) == {"index", "function"} for delta in rest)
    arguments = first["function"]["arguments"] + "".join(delta["function"]["arguments"] for delta in rest)
    assert json.loads(arguments) == {"a": 1, "b": 2}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == ""
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_answer_of_a_tool_goes_back_to_the_model() -> None:
    called = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
    ]
    async with api(FakeRunner(script=b"Three.")) as client:
        response = await client.post(CHAT, json={"messages": messages, "tools": [ADD]})
        rendered = (await client.post("/apply-template", json={"messages": messages})).json()["prompt"]
    assert response.json()["choices"][0]["message"]["content"] == "Three."
    assert '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>' in rendered
    assert "<tool_response>\n3\n</tool_response>" in rendered


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", [{"include_reasoning": True}, {"reasoning_format": "deepseek"}, {}])
async def test_thoughts_on_request(stream: bool, field: dict[str, Any]) -> None:
    async with api(FakeRunner(script=b"<think>hm</think>\nThree.")) as client:
        response = await client.post(CHAT, json={"messages": HI, "stream": stream, **field})
    if stream:
        parts = [chunk["choices"][0]["delta"] for chunk in events_of(response)]
    else:
        parts = [response.json()["choices"][0]["message"]]
    content = "".join(part.get("content") or "" for part in parts)
    thoughts = "".join(part.get("reasoning_content") or "" for part in parts)
    assert (thoughts, content) == (("hm", "Three.") if field else ("", "<think>hm</think>\nThree."))


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": [{"type": "function"}]}, "invalid_request", "tools[0].function"),
        ({"tools": [ADD, ADD]}, "invalid_request", "tools"),
        ({"tool_choice": "required"}, "invalid_request", "tool_choice"),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "invalid_request",
            "tool_choice",
        ),
        (
            {"tools": [ADD], "tool_choice": "required", "response_format": {"type": "json_object"}},
            "unsupported_parameter",
            "tool_choice",
        ),
        ({"chat_template_kwargs": {"messages": []}}, "invalid_request", "chat_template_kwargs"),
        ({"response_format": {"type": "json_schema"}}, "invalid_request", "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "tree"}}}},
            "invalid_grammar",
            "response_format",
        ),
        ({"structured_outputs": {"regex": "("}}, "invalid_grammar", "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "invalid_request", "structured_outputs"),
        ({"structured_outputs": {}}, "invalid_request", "structured_outputs"),
        (
            {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
            "invalid_request",
            "structured_outputs",
        ),
        (
            {"structured_outputs": {"regex": "a"}, "allowed_token_ids": [1]},
            "unsupported_parameter",
            "allowed_token_ids",
        ),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "tree"}}}],
                "tool_choice": "required",
            },
            "invalid_grammar",
            "tools",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals(fields: dict[str, Any], code: str, param: str, stream: bool) -> None:
    async with api(FakeRunner()) as client:
        response = await client.post(CHAT, json={"messages": HI, "stream": stream, **fields})
        check_error(response, 400, code=code, param=param)
