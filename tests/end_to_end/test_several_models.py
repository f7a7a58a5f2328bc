"""Two models in one process: each answers as it does alone, whoever else is asked at the same time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from service.rpc.proto.gemmule.v1 import inference_pb2
from tests.end_to_end.server import LIMIT_S, Server, served, started
from tests.service.rpc.stub import Stub

PathOf = Callable[..., Path]
FLAGS = ("--threads", "2", "--max-batch", "4", "--kv-memory", "4MiB")


@pytest.fixture(scope="module")
def models(tiny_gguf_of: PathOf, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = folder / "first.gguf", folder / "second.gguf"
    for path, weight_type in zip(paths, ("Q4_0", "Q8_0"), strict=True):
        path.write_bytes(tiny_gguf_of(weight_type=weight_type).read_bytes())
    return paths


@pytest.fixture(scope="module")
def server(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    broken = models[0].with_name("broken.gguf")
    broken.write_bytes(b"GGUF")
    with started(models[0], tmp_path_factory.mktemp("both"), str(broken), str(models[1]), *FLAGS) as running:
        running.wait_until_ready()
        yield running
        for name in ("first", "second"):
            running.wait_for_metric("gemmule_kv_blocks_used", 0, model=name)
            assert running.metrics().value("gemmule_engine_alive", model=name) == 1
        running.signal(signal.SIGTERM)
        assert running.wait() == 0, running.said()
        assert "Traceback" not in running.said(), running.said()


def answer(server: Server, model: str | None, prompt: str) -> str:
    body: dict[str, object] = {
        "prompt": prompt,
        "max_tokens": 24,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    if model is not None:
        body["model"] = model
    response = httpx.post(f"{server.url}/v1/completions", json=body, timeout=LIMIT_S)
    assert response.status_code == 200, response.text
    assert response.json()["model"] == (model or "first")
    return str(response.json()["choices"][0]["token_ids"])


def test_both_are_listed_and_the_broken_one_is_reported(server: Server) -> None:
    listed = httpx.get(f"{server.url}/v1/models", timeout=LIMIT_S).json()["data"]
    assert [model["id"] for model in listed] == ["first", "second"]
    assert "broken.gguf is not served" in server.said()


def test_another_name_is_refused(server: Server) -> None:
    response = httpx.post(f"{server.url}/v1/completions", json={"model": "third", "prompt": "x"}, timeout=LIMIT_S)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert "'first', 'second'" in response.json()["error"]["message"]


def test_each_answers_as_alone(server: Server, models: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = [f"{index} sponges in the sea" for index in range(4)]
    with ThreadPoolExecutor(8) as pool:
        asked = [(name, prompt) for prompt in prompts for name in ("first", "second")]
        together = dict(zip(asked, pool.map(lambda both: answer(server, *both), asked), strict=True))
    for path in models:
        with served(path, tmp_path / path.stem, *FLAGS) as alone:
            for prompt in prompts:
                assert answer(alone, path.stem, prompt) == together[path.stem, prompt]
    assert answer(server, None, prompts[0]) == together["first", prompts[0]]
    assert together["first", prompts[0]] != together["second", prompts[0]]


async def test_grpc_chooses_too(server: Server) -> None:
    options = inference_pb2.Options(max_tokens=24, temperature=0, ignore_eos=True)

    async def asked(model: str) -> str:
        request = inference_pb2.GenerateRequest(model=model, text="A sponge", options=options)
        return str(list((await stub.generate(request, timeout=LIMIT_S)).token_ids))

    async with grpc.aio.insecure_channel(server.grpc_address()) as channel:
        stub: Any = Stub(channel, inference_pb2.DESCRIPTOR.services_by_name["Inference"])
        assert await asked("first") == answer(server, "first", "A sponge")
        assert await asked("second") == answer(server, "second", "A sponge")
        with pytest.raises(grpc.aio.AioRpcError, match="no model is called 'third'"):
            await asked("third")


def test_series_have_the_model_as_a_label(server: Server) -> None:
    metrics = server.metrics()
    for name in ("first", "second"):
        assert metrics.value("gemmule_generation_tokens_total", model=name) > 0
        assert metrics.sum("gemmule_kernel_wall_seconds_total", model=name) > 0
