"""The demo model, served as a newcomer would: sensible English, the same words however they are asked for."""

import asyncio
import re
from collections.abc import Iterator
from itertools import accumulate

import httpx
import pytest

from service.errors import StartupError
from service.pull import DEFAULT_MODEL, resolve_model
from tests.end_to_end.requests import CHAT, COMPLETIONS, answers, events_of, stream
from tests.end_to_end.server import LIMIT_S, Server, post, served

QUESTION = {"messages": [{"role": "user", "content": "Name the capital of France in one sentence."}], "temperature": 0}
STORY = {"prompt": "Once upon a time there was a small sponge", "temperature": 0.8, "seed": 7, "logprobs": 3}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        resolve_model(DEFAULT_MODEL)
    except StartupError as missing:
        pytest.skip(str(missing))
    with served(DEFAULT_MODEL, tmp_path_factory.mktemp("demo")) as running:
        yield running


def test_a_chat_is_answered_in_english(server: Server) -> None:
    answer = post(server, CHAT, QUESTION)
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == "The capital of France is Paris."
    assert choice["finish_reason"] == "stop"
    assert answer["model"] == DEFAULT_MODEL


async def test_a_streamed_chat_comes_in_whole_words(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
        chunks = await stream(client, CHAT, QUESTION)
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    words = ["The", " capital", " of", " France", " is", " Paris", "."]
    assert "".join(pieces) == "".join(words)
    assert set(accumulate(pieces)) <= set(accumulate(["", *words]))  # a fast step's words may come together


def test_a_text_is_continued_in_english(server: Server) -> None:
    (choice,) = post(server, COMPLETIONS, {"prompt": "The capital of France is", "temperature": 0})["choices"]
    assert choice["text"].startswith(" Paris.")
    (choice,) = post(server, COMPLETIONS, {**STORY, "max_tokens": 60, "ignore_eos": True})["choices"]
    words = re.findall(r"[a-z]+", choice["text"].lower())
    assert len(words) > 20
    assert len({"the", "a", "and", "of", "to", "in", "was", "it"} & set(words)) >= 4


def test_one_request_among_fifteen_is_what_it_is_alone(server: Server) -> None:
    wanted = {**STORY, "max_tokens": 24}
    alone = post(server, COMPLETIONS, wanted)["choices"]
    crowd = [
        {"prompt": "Tell me about the sea. " * (1 + 5 * index), "max_tokens": 10 + index, "temperature": index / 10}
        for index in range(15)
    ]
    assert asyncio.run(answers(server.url, [*crowd[:7], wanted, *crowd[7:]]))[7] == alone


def test_a_client_that_leaves_frees_its_blocks(server: Server) -> None:
    body = {**QUESTION, "messages": [{"role": "user", "content": "Tell me a very long story."}], "stream": True}
    with httpx.stream("POST", f"{server.url}{CHAT}", json=body, timeout=LIMIT_S) as response:
        lines = response.iter_lines()
        while '"content":"' not in next(lines).replace('"content":""', ""):
            pass
        assert server.metrics().value("gemmule_kv_blocks_used") > 0
    server.wait_for_metric("gemmule_kv_blocks_used", 0)


def test_nothing_was_compiled_for_all_this(server: Server) -> None:
    at_ready = server.metrics().value("gemmule_kernel_compilations_total")
    text = httpx.post(f"{server.url}{CHAT}", json={**QUESTION, "stream": True}, timeout=LIMIT_S).text
    assert events_of(text)
    assert server.metrics().value("gemmule_kernel_compilations_total") == at_ready
