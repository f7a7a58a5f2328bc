"""OpenAI's own Python client against the demo model: what it sends is understood, what it gets it can parse."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from service.errors import StartupError
from service.pull import DEFAULT_MODEL, resolve_model
from tests.end_to_end.server import LIMIT_S, Server, served

KEY = "sk-for-the-test"
QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France in one sentence."}]
PARIS = "The capital of France is Paris."
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two whole numbers.",
        "parameters": {
            "type": "object",
            "properties": {name: {"type": "integer", "minimum": 0, "maximum": 99} for name in ("a", "b")},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        resolve_model(DEFAULT_MODEL)
    except StartupError as missing:
        pytest.skip(str(missing))
    with served(DEFAULT_MODEL, tmp_path_factory.mktemp("openai"), GEMMULE_API_KEY=KEY) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, timeout=LIMIT_S, max_retries=0) as made:
        yield made


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [DEFAULT_MODEL]
    assert client.models.retrieve(DEFAULT_MODEL).owned_by == "gemmule"


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=DEFAULT_MODEL, messages=QUESTION, temperature=0, logprobs=True, top_logprobs=2
    )
    (choice,) = answer.choices
    assert choice.message.content == PARIS
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert "".join(token.token for token in choice.logprobs.content) == PARIS
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.completion_tokens == len(choice.logprobs.content) + 1


def test_chat_streamed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=DEFAULT_MODEL, messages=QUESTION, temperature=0, stream_options={"include_usage": True}
    ) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(pieces) > 3
    assert "".join(pieces) == final.choices[0].message.content == PARIS
    assert final.usage is not None


def test_completions(client: openai.OpenAI) -> None:
    asked: Any = {"model": DEFAULT_MODEL, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8}
    plain = client.completions.create(**asked, n=2, echo=True)
    assert [choice.text[:31] for choice in plain.choices] == ["The capital of France is Paris."] * 2
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True))
    assert f"The capital of France is{streamed}" == plain.choices[0].text
    banned = client.completions.create(**asked, logit_bias={"7042": -100}, frequency_penalty=1, presence_penalty=1)
    assert banned.choices[0].text


def test_structured_output_is_parsed(client: openai.OpenAI) -> None:
    class City(BaseModel):
        name: str
        is_capital: bool

    answer = client.chat.completions.parse(
        model=DEFAULT_MODEL, messages=QUESTION, response_format=City, temperature=0, max_tokens=200
    )
    city = answer.choices[0].message.parsed
    assert isinstance(city, City)
    assert city.name
    objects = client.chat.completions.create(
        model=DEFAULT_MODEL,
        messages=[{"role": "user", "content": "Answer with a very short JSON object."}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=300,
    )
    if objects.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(objects.choices[0].message.content or ""), dict)


def test_tools(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is 1 + 2? Use the function."}]
    asked: Any = {"model": DEFAULT_MODEL, "tools": [ADD], "tool_choice": "required", "temperature": 0}
    answer = client.chat.completions.create(messages=messages, **asked)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) == {"a", "b"}
    with client.chat.completions.stream(messages=messages, **asked) as stream:
        names = [event.name for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert names == ["add"]
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments
    told = client.chat.completions.create(
        model=DEFAULT_MODEL,
        messages=[
            *messages,
            choice.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "3"},
        ],
        tools=[ADD],
        max_tokens=20,
    )
    assert told.choices[0].message.role == "assistant"


def test_errors_are_its_own(client: openai.OpenAI, server: Server) -> None:
    asked: Any = {"model": DEFAULT_MODEL, "messages": QUESTION}
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(**{**asked, "temperature": 9})
    assert bad.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**{**asked, "model": "gpt-99"})
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(**{**asked, "messages": [{"role": "user", "content": "a " * 20_000}]})
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError) as nobody:
        client.with_options(api_key="sk-of-nobody").models.list()
    assert nobody.value.code == "invalid_api_key"


async def test_the_asynchronous_client(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, timeout=LIMIT_S) as client:
        stream = await client.chat.completions.create(
            model=DEFAULT_MODEL, messages=QUESTION, temperature=0, stream=True
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert said == PARIS
