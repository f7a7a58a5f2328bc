"""LangChain's OpenAI connector against the demo model."""

from collections.abc import Iterator

import pytest
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field

from service.errors import StartupError
from service.pull import DEFAULT_MODEL, resolve_model
from tests.end_to_end.server import LIMIT_S, Server, served

QUESTION = "Name the capital of France in one sentence."
PARIS = "The capital of France is Paris."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        resolve_model(DEFAULT_MODEL)
    except StartupError as missing:
        pytest.skip(str(missing))
    with served(DEFAULT_MODEL, tmp_path_factory.mktemp("langchain")) as running:
        yield running


@pytest.fixture
def chat(server: Server) -> ChatOpenAI:
    return ChatOpenAI(
        model=DEFAULT_MODEL,
        base_url=f"{server.url}/v1",
        api_key="none",  # type: ignore[arg-type]
        temperature=0,
        timeout=LIMIT_S,
        max_retries=0,
        max_tokens=200,  # type: ignore[call-arg]
    )


class Addition(BaseModel):
    """Adds two whole numbers."""

    a: int = Field(ge=0, le=99)
    b: int = Field(ge=0, le=99)


def test_invoke_and_stream(chat: ChatOpenAI) -> None:
    answer = chat.invoke(QUESTION)
    assert answer.content == PARIS
    assert answer.usage_metadata is not None
    assert answer.response_metadata["finish_reason"] == "stop"
    assert "".join(str(chunk.content) for chunk in chat.stream(QUESTION)) == PARIS


async def test_asynchronously_and_in_batches(chat: ChatOpenAI) -> None:
    assert (await chat.ainvoke(QUESTION)).content == PARIS
    assert [answer.content for answer in await chat.abatch([QUESTION] * 3)] == [PARIS] * 3


def test_tools(chat: ChatOpenAI) -> None:
    answer = chat.bind_tools([Addition], tool_choice="Addition").invoke("What is 1 + 2?")
    (call,) = answer.tool_calls
    assert call["name"] == "Addition"
    assert set(call["args"]) == {"a", "b"}


def test_structured_output(chat: ChatOpenAI) -> None:
    for method in ("json_schema", "function_calling"):
        parsed = chat.with_structured_output(Addition, method=method).invoke("What is 1 + 2?")  # type: ignore[arg-type]
        assert isinstance(parsed, Addition)


def test_completion(server: Server) -> None:
    model = OpenAI(
        model=DEFAULT_MODEL,
        base_url=f"{server.url}/v1",
        api_key="none",  # type: ignore[arg-type]
        temperature=0,
        timeout=LIMIT_S,
        max_tokens=8,
    )
    assert model.invoke("The capital of France is").startswith(" Paris.")
