"""One request, alone and among others, with 1 and 2 threads, in large chunks and small: the same bits (bar none)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.requests import COMPLETIONS, GREEDY, SEEDED, answers, others
from tests.end_to_end.server import Server, post, served
from tests.end_to_end.tiny_kv import BLOCK_BYTES


@pytest.fixture(scope="module")
def alone(server: Server) -> list[object]:
    """The choices of both requests, each by itself."""
    return [post(server, COMPLETIONS, body)["choices"] for body in (GREEDY, SEEDED)]


async def test_among_others(server: Server, alone: list[object]) -> None:
    before = server.metrics()
    for place in (0, 7, 15):
        bodies = others(15)
        bodies.insert(place, GREEDY if place != 7 else SEEDED)
        choices = await answers(server.url, bodies)
        assert choices[place] == alone[place == 7], place
    after = server.metrics()
    phase = {"phase": "mixed"}
    name = "gemmule_step_duration_seconds_count"
    assert after.value(name, **phase) - before.value(name, **phase) >= 5  # they did meet in steps


async def test_every_one_of_sixteen_is_what_it_is_alone(server: Server) -> None:
    bodies = [{**body, "seed": index, "logprobs": 3} for index, body in enumerate(others(16))]
    together = await answers(server.url, bodies)
    for body, choices in zip(bodies, together, strict=True):
        assert await answers(server.url, [body]) == [choices]


async def test_arriving_while_others_run(server: Server, alone: list[object]) -> None:
    running = asyncio.ensure_future(answers(server.url, others(15)))
    results = []
    while not running.done():
        results += await answers(server.url, [GREEDY, SEEDED])
    await running
    assert len(results) >= 2
    assert results == alone * (len(results) // 2)


@pytest.mark.parametrize("flags", [("--threads", "1"), ("--threads", "2", "--max-step-tokens", "13")], ids=" ".join)
async def test_with_other_threads_and_chunks(
    tiny_gguf_of: Callable[..., Path], tmp_path: Path, alone: list[object], flags: tuple[str, ...]
) -> None:
    with served(tiny_gguf_of(context=4096), tmp_path, *flags, "--max-batch", "4") as other:
        assert await answers(other.url, [GREEDY]) == [alone[0]]
        assert (await answers(other.url, [*others(3), SEEDED, *others(3)]))[3] == alone[1]


async def test_when_blocks_run_out_and_sequences_are_computed_again(
    tiny_gguf_of: Callable[..., Path], tmp_path: Path, alone: list[object]
) -> None:
    flags = ("--kv-memory", str(24 * BLOCK_BYTES), "--max-batch", "16")
    with served(tiny_gguf_of(context=4096), tmp_path, *flags) as small:
        assert small.metrics().value("gemmule_kv_blocks_capacity") == 24
        crowd = [{**body, "prompt": "The sea " * 5, "max_tokens": 100} for body in others(14)]
        choices = await answers(small.url, [GREEDY, *crowd, SEEDED])
        assert [choices[0], choices[-1]] == alone
        assert small.metrics().value("gemmule_preemptions_total") > 0
