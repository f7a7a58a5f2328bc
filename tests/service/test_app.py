"""The life of the process, with real signals: ready when loaded, drained when told, gone at the second signal."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

LIMIT_S = 30


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def line(self, pattern: str) -> re.Match[str]:
        """The next line of output that matches."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while True:
                text = (await self._process.stdout.readline()).decode()
                assert text, f"ended without {pattern!r}; it said {self.lines}"
                self.lines.append(text.rstrip("\n"))
                if match := re.search(pattern, text):
                    return match

    async def ready(self) -> str:
        """The URL."""
        return (await self.line(r"ready on (http://\S+) after \d+\.\d\d s"))[1]

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        """(exit status, the rest of the output)."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            rest = (await self._process.stdout.read()).decode()
            return await self._process.wait(), rest


@asynccontextmanager
async def process(**environment: str) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "tests.service.fake_service"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Process(started)
    finally:
        if started.returncode is None:
            started.kill()
        assert started.stdout is not None
        await started.stdout.read()
        await started.wait()


async def status(client: httpx.AsyncClient, path: str) -> int:
    return (await client.get(path)).status_code


async def test_start_serve_and_stop_at_sigterm() -> None:
    async with process() as service:
        url = await service.ready()
        assert service.lines[-3:-1] == ["a fake model of two words", "and two lines"]
        async with httpx.AsyncClient(base_url=url) as client:
            assert await status(client, "/health/ready") == 200
            completion = (await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 4})).json()
            assert completion["usage"]["completion_tokens"] == 4
            metrics = (await client.get("/metrics")).text
            assert "gemmule_kernel_compilations_total 3.0" in metrics
            assert "gemmule_kv_blocks_capacity 64.0" in metrics
            service.signal()
            code, rest = await service.ended()
    assert code == 0, rest
    assert rest.rstrip().endswith("model closed")


async def test_listens_while_it_loads() -> None:
    async with process(FAKE_LOAD_S="1.0") as service:
        url = (await service.line(r"listening on (http://\S+), loading"))[1]
        async with httpx.AsyncClient(base_url=url) as client:
            assert await status(client, "/health/live") == 200
            assert await status(client, "/health/ready") == 503
            refused = await client.post("/v1/completions", json={"prompt": "a"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
            await service.ready()
            assert await status(client, "/health/ready") == 200


async def test_a_slow_start_says_why() -> None:
    async with process(FAKE_LOAD_S="1.0", FAKE_PATIENCE_S="0.1") as service:
        await service.line("still loading; the first start on a machine takes longest")
        await service.ready()
        assert sum("still loading" in line for line in service.lines) == 1
    async with process(FAKE_LOAD_S="0.1") as service:
        await service.ready()
        assert not any("still loading" in line for line in service.lines)


async def test_sigterm_while_loading_ends_at_once() -> None:
    async with process(FAKE_LOAD_S="60") as service:
        await service.line("listening on")
        service.signal()
        code, _ = await service.ended()
    assert code == 0


async def stream(client: httpx.AsyncClient, max_tokens: int, first: asyncio.Event) -> list[Any]:
    body = {"prompt": "a", "stream": True, "max_tokens": max_tokens}
    chunks = []
    async with client.stream("POST", "/v1/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunks.append(json.loads(line.removeprefix("data: ")))
                first.set()
            elif line:
                assert line == "data: [DONE]"
    return chunks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_running_requests_end_before_the_process_does(number: int) -> None:
    async with process(FAKE_STEP_S="0.01") as service:
        async with httpx.AsyncClient(base_url=await service.ready()) as client:
            first = asyncio.Event()
            running = asyncio.ensure_future(stream(client, 100, first))
            await first.wait()
            service.signal(number)
            await service.line("draining for up to 30.0 s")
            # The listener is still open: probes get their answer, new work is refused.
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
            refused = await client.post("/v1/completions", json={"prompt": "a"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            chunks = await running
            assert chunks[-1]["choices"][0]["finish_reason"] == "length"
            assert len("".join(chunk["choices"][0]["text"] for chunk in chunks)) == 100
        code, rest = await service.ended()
    assert code == 0, rest
    assert "all done" in rest


async def test_what_does_not_end_in_time_is_aborted_with_an_error() -> None:
    async with process(FAKE_STEP_S="0.02", GEMMULE_DRAIN_S="0.3") as service:
        async with httpx.AsyncClient(base_url=await service.ready()) as client:
            first = asyncio.Event()
            running = asyncio.ensure_future(stream(client, 900, first))
            await first.wait()
            service.signal()
            chunks = await running
            assert chunks[-1]["error"]["code"] == "draining"
        code, rest = await service.ended()
    assert code == 0, rest
    assert "some aborted" in rest


async def test_a_second_signal_ends_at_once() -> None:
    async with (
        process(FAKE_STEP_S="0.02", GEMMULE_DRAIN_S="600") as service,
        httpx.AsyncClient(base_url=await service.ready()) as client,
    ):
        first = asyncio.Event()
        running = asyncio.ensure_future(stream(client, 900, first))
        await first.wait()
        service.signal()
        await service.line("draining")
        service.signal(signal.SIGINT)
        code, _ = await service.ended()
        assert code == 128 + signal.SIGINT
        with pytest.raises(httpx.RemoteProtocolError):
            await running


async def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    async with process() as service:
        host, port = (await service.ready()).removeprefix("http://").split(":")
        _, silent = await asyncio.open_connection(host, int(port))
        _, half = await asyncio.open_connection(host, int(port))
        half.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await half.drain()
        service.signal()
        code, rest = await service.ended()
        for writer in (silent, half):
            writer.close()
    assert code == 0, rest
    assert "cut off at shutdown: POST /v1/completions" in rest
    assert "Traceback" not in rest


async def test_a_bad_model_file_and_a_bug_end_the_process() -> None:
    for failure, says in (("model", "the header claims"), ("bug", "a bug")):
        async with process(FAKE_FAILURE=failure) as service:
            code, rest = await service.ended()
        assert code == 1
        assert says in rest


async def test_an_engine_that_dies_ends_the_process_with_1() -> None:
    async with (
        process(FAKE_FAILURE="engine") as service,
        httpx.AsyncClient(base_url=await service.ready()) as client,
    ):
        response = await client.post("/v1/completions", json={"prompt": "a"})
        assert response.status_code == 500
        code, rest = await service.ended()
    assert code == 1, rest
    assert "the engine thread has failed" in rest


async def test_json_logs_are_one_object_a_line() -> None:
    async with process(GEMMULE_LOG_FORMAT="json") as service:
        await service.ready()
        service.signal()
        _, rest = await service.ended()
    logged = [json.loads(line) for line in rest.splitlines() if line.startswith("{")]
    assert any(entry["event"] == "SIGTERM: stopping" and entry["level"] == "info" for entry in logged)
