"""The whole service on an Arm core: a process, a tiny model, completions over HTTP, the rung that the core deserves.

`make arm-test` runs it under emulation, where QEMU_CPU names the core; on a real Arm server it runs as it is.
"""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from tools.arm.cores import CORES

pytestmark = pytest.mark.skipif(platform.machine() != "aarch64", reason="for Arm cores: make arm-test")

BODY: dict[str, Any] = {"prompt": "Once upon a time there was a small sponge", "max_tokens": 16, "temperature": 0}
LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and what it said at its start."""

    url: str
    lines: tuple[str, ...]

    def complete(self, **more: object) -> str:
        """The text of one completion, not streamed."""
        answer = httpx.post(f"{self.url}/v1/completions", json=BODY | more, timeout=LIMIT_S)
        assert answer.status_code == 200, answer.text
        assert 1 <= answer.json()["usage"]["completion_tokens"] <= BODY["max_tokens"]
        return str(answer.json()["choices"][0]["text"])

    def stream(self) -> str:
        """The same, streamed and put together."""
        pieces = []
        with httpx.stream(
            "POST", f"{self.url}/v1/completions", json=BODY | {"stream": True}, timeout=LIMIT_S
        ) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    pieces.append(json.loads(line.removeprefix("data: "))["choices"][0]["text"])
        return "".join(pieces)

    def metrics(self) -> str:
        """The scrape."""
        return httpx.get(f"{self.url}/metrics", timeout=LIMIT_S).text


@contextmanager
def serving(model: Path, *arguments: str) -> Iterator[Server]:
    """A server from its first line to its clean end."""
    command = [sys.executable, "-m", "service.cli", "serve", str(model), "--port", "0", "--threads", "2", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if found := re.search(r"ready on (http://\S+)", line):
                    yield Server(found[1], tuple(lines))
                    break
            else:
                pytest.fail("the server ended before it was ready:\n" + "\n".join(lines))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0


def expected_rung() -> str:
    """By the table of emulated cores, else by this machine's features."""
    named = os.environ.get("QEMU_CPU", "")
    return next((core.rung for core in CORES if core.name == named), rungs_for(detect_cpu())[0].name)


@pytest.mark.parametrize("weight_type", ["Q4_0", "Q4_1"])
def test_completion(tiny_gguf_of: Callable[..., Path], weight_type: str) -> None:
    """Streamed or not the same text, on the best rung the same as on the scalar one, each named in /metrics."""
    model, rung = tiny_gguf_of(weight_type=weight_type), expected_rung()
    with serving(model) as server:
        assert [line for line in server.lines if rung in line], server.lines
        text = server.complete()
        assert server.stream() == text
        assert re.search(rf'kernel="matmul_clamp_\w+_{rung}"', server.metrics())
    with serving(model, "--isa", "scalar") as server:
        assert server.complete() == text
