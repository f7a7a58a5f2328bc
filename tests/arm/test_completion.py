"""One completion from HTTP to the micro-kernels on this core, whichever it is; under emulation, every one of ours.

The rung must be the one that the core is listed with, and no rung may change a bit: what the best one says, with every
log probability, is what the scalar one says.
"""

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from kernels.registry import FAMILIES
from kernels.select import choose_matmul
from tests.arm.completing import Completing, completing
from tools.arm.cores import CORES

PROMPT = "Once upon a time there was a small sponge which lived at the bottom of the sea."
GREEDY = {"prompt": PROMPT, "temperature": 0, "max_tokens": 24, "logprobs": 5, "ignore_eos": True}
SEEDED = {**GREEDY, "temperature": 1.0, "top_p": 0.9, "seed": 11}


def expected_rung() -> str:
    """By the table of cores where one of them is emulated; elsewhere the best that the ladder has for this CPU."""
    if platform.machine() == "aarch64":
        for core in CORES:
            if core.name == os.environ.get("QEMU_CPU"):
                return core.rung
    return rungs_for(detect_cpu())[0].name


async def choices(service: Completing, *bodies: dict[str, Any]) -> list[Any]:
    responses = [await service.client.post("/v1/completions", json=body) for body in bodies]
    assert [response.status_code for response in responses] == [200] * len(bodies), responses
    return [response.json()["choices"][0] for response in responses]


@pytest.mark.parametrize("weight_type", ["Q4_0", "Q4_1", "Q8_0"])
async def test_the_best_rung_says_what_the_scalar_one_says(tiny_gguf_of: Callable[..., Path], weight_type: str) -> None:
    path = tiny_gguf_of(weight_type=weight_type)
    async with completing(path) as best:
        assert best.rungs == {expected_rung()}
        said = await choices(best, GREEDY, SEEDED)
        compilations = best.model.num_compilations()
        assert await choices(best, GREEDY, SEEDED) == said
        assert best.model.num_compilations() == compilations
        metrics = (await best.client.get("/metrics")).text
        for variant in (
            best.model.weights.output[0].matrix.choice.gemm,
            best.model.weights.output[0].matrix.choice.gemv,
        ):
            assert f'kernel="{variant.name}"' in metrics
    assert len(said[0]["logprobs"]["tokens"]) == len(said[1]["logprobs"]["tokens"]) == 24
    # Left to itself, a rung without fast products of int16 would keep keys and values in f16.
    async with completing(path, isa="scalar", kv_type=best.model.kv.layout.kv_type.name) as scalar:
        assert scalar.rungs == {"scalar"}
        assert await choices(scalar, GREEDY, SEEDED) == said


async def test_a_chat_is_streamed(tiny_gguf: Path) -> None:
    """The role, the text in one piece or many (a tiny model may be done before the first is sent), why it ended."""
    body = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8}
    async with completing(tiny_gguf, threads=2) as service:
        whole = await service.client.post("/v1/chat/completions", json=body)
        streamed = await service.client.post("/v1/chat/completions", json={**body, "stream": True})
    assert streamed.status_code == 200
    *events, done = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert done == "[DONE]"
    pieces = [json.loads(event)["choices"][0] for event in events]
    (expected,) = whole.json()["choices"]
    assert pieces[0]["delta"]["role"] == "assistant"
    assert "".join(piece["delta"].get("content") or "" for piece in pieces) == expected["message"]["content"]
    assert pieces[-1]["finish_reason"] == expected["finish_reason"]


def test_every_family_has_micro_kernels_for_this_core() -> None:
    """So that tests/kernels, which run what this core can run, do run the kernels that a server here would."""
    rungs = {family.source: choose_matmul(family, detect_cpu()).rung.name for family in FAMILIES}
    assert {rungs[source] for source in ("Q4_0", "Q4_1", "Q8_0")} == {expected_rung()}
    assert "scalar" not in rungs.values(), rungs
