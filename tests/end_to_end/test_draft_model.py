"""A draft model guesses, well or badly: every answer is what it is without one, bit for bit, no block stays held."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from gguf import TokenType

from tests.end_to_end.requests import COMPLETIONS, GREEDY, SEEDED, answers, others
from tests.end_to_end.server import LIMIT_S, Server, post, served, started
from tests.end_to_end.tiny_kv import BLOCK_BYTES

PathOf = Callable[..., Path]
FLAGS = ("--max-batch", "16", "--threads", "2")
BODIES = [GREEDY, SEEDED, *({**body, "seed": index} for index, body in enumerate(others(6)))]
DRAFT_MODEL = {"drafter": "draft_model"}


@pytest.fixture(scope="module")
def expected(server: Server) -> list[object]:
    """Of a server that guesses nothing."""
    return asyncio.run(answers(server.url, BODIES))


async def check(server: Server, expected: list[object]) -> float:
    """Answers alone and together; returns the share of the guesses that were right."""
    assert await answers(server.url, BODIES) == expected
    for body, choices in zip(BODIES, expected, strict=True):
        assert post(server, COMPLETIONS, body)["choices"] == choices
    cancel_a_stream(server)
    server.wait_for_metric("gemmule_draft_kv_blocks_used", 0)
    metrics = server.wait_for_metric("gemmule_kv_blocks_used", 0)
    assert metrics.value("gemmule_draft_tokens_total", drafter="prompt_lookup") == 0
    assert metrics.value("gemmule_draft_kv_blocks_capacity") > 0
    assert metrics.value("gemmule_draft_kv_capacity_bytes") > 0
    assert metrics.value("gemmule_step_part_seconds_total", part="draft") > 0
    assert metrics.sum("gemmule_kernel_wall_seconds_total", op="draft_sample") > 0
    num_guessed = metrics.value("gemmule_draft_tokens_total", **DRAFT_MODEL)
    assert num_guessed > 100
    return metrics.value("gemmule_draft_tokens_accepted_total", **DRAFT_MODEL) / num_guessed


def cancel_a_stream(server: Server) -> None:
    """In the middle of its guesses; again if it was done before we had gone."""
    body = {**GREEDY, "max_tokens": 3900, "logprobs": None, "stream": True}
    for _ in range(10):
        with httpx.stream("POST", f"{server.url}{COMPLETIONS}", json=body, timeout=LIMIT_S) as response:
            for _ in zip(range(20), response.iter_lines(), strict=False):
                pass
        metrics = server.wait_for_metric("gemmule_requests_running", 0)
        if metrics.value("gemmule_e2e_request_latency_seconds_count", finish_reason="abort"):
            return
    raise AssertionError("no stream was cancelled")


async def test_the_model_itself_as_its_draft_is_always_right(
    tiny_gguf_of: PathOf, tmp_path: Path, expected: list[object]
) -> None:
    model = tiny_gguf_of(context=4096)
    with served(model, tmp_path, *FLAGS, "--draft-model", str(model)) as server:
        assert await check(server, expected) == 1.0
        assert "draft kv " in server.said()
        before = server.metrics().value("gemmule_draft_tokens_total", **DRAFT_MODEL)
        assert post(server, COMPLETIONS, {**GREEDY, "drafter": "none"})["choices"] == expected[0]
        assert server.metrics().value("gemmule_draft_tokens_total", **DRAFT_MODEL) == before


async def test_a_draft_model_that_knows_nothing_is_mostly_wrong(
    tiny_gguf_of: PathOf, tmp_path: Path, expected: list[object]
) -> None:
    other = tiny_gguf_of(context=1024, num_layers=1, seed=7)
    with served(tiny_gguf_of(context=4096), tmp_path, *FLAGS, GEMMULE_DRAFT_MODEL=str(other)) as server:
        assert await check(server, expected) < 0.3


async def test_when_blocks_run_out(server: Server, tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    """Sequences are preempted, and the draft model catches up with them."""
    model, bodies = tiny_gguf_of(context=4096), [{**SEEDED, "seed": seed, "max_tokens": 200} for seed in range(4)]
    flags = (*FLAGS, "--draft-model", str(model), "--kv-memory", str(40 * BLOCK_BYTES), "--no-prefix-cache")
    expected = await answers(server.url, bodies)
    with served(model, tmp_path, *flags) as other:
        assert other.metrics().value("gemmule_kv_blocks_capacity") == 20
        assert await answers(other.url, bodies) == expected
        metrics = other.wait_for_metric("gemmule_draft_kv_blocks_used", 0)
        assert metrics.value("gemmule_preemptions_total") > 0
        assert metrics.value("gemmule_draft_tokens_total", **DRAFT_MODEL) > 0


def test_another_vocabulary_ends_the_start(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    other = tiny_gguf_of(extra_tokens=(("<|more|>", TokenType.CONTROL),))
    with started(tiny_gguf_of(), tmp_path, "--draft-model", str(other)) as server:
        assert server.wait() == 1
        assert "the draft model needs the model's vocabulary: the number of tokens is 379" in server.said()
        assert "Traceback" not in server.said()
