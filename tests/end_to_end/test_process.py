"""The life of the real process: drained by a signal, ended by two, and one clear line where it cannot start."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.requests import COMPLETIONS, GREEDY, events_of
from tests.end_to_end.server import LIMIT_S, Server, started
from tests.end_to_end.tiny_kv import BLOCK_BYTES


@pytest.fixture
def slow_model(tiny_gguf_of: Callable[..., Path]) -> Path:
    """A few milliseconds a token on the slowest rung."""
    return tiny_gguf_of(context=4096, embedding=256, ffn=768, num_layers=3)


SLOW = ("--isa", "scalar", "--threads", "1")


class Reader(threading.Thread):
    """A streamed request in the background; `text` is all of it once the thread has ended."""

    def __init__(self, server: Server, max_tokens: int) -> None:
        super().__init__()
        self._url = f"{server.url}{COMPLETIONS}"
        self._body = {**GREEDY, "stream": True, "max_tokens": max_tokens}
        self.has_begun = threading.Event()
        self.was_cut = False
        self.text = ""

    def run(self) -> None:
        try:
            with httpx.stream("POST", self._url, json=self._body, timeout=LIMIT_S) as response:
                for piece in response.iter_text():
                    self.text += piece
                    if "data: " in self.text:
                        self.has_begun.set()
        except httpx.TransportError:
            self.was_cut = True


def test_the_first_signal_lets_requests_end(slow_model: Path, tmp_path: Path) -> None:
    with started(slow_model, tmp_path, *SLOW) as server:
        server.wait_until_ready()
        reader = Reader(server, max_tokens=300)
        reader.start()
        assert reader.has_begun.wait(LIMIT_S)
        server.signal(signal.SIGTERM)
        while httpx.get(f"{server.url}/health/ready").status_code == 200:
            time.sleep(0.01)
        refused = httpx.post(f"{server.url}{COMPLETIONS}", json=GREEDY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert server.wait() == 0, server.said()
        reader.join()
    assert events_of(reader.text)[-1]["choices"][0]["finish_reason"] == "length"
    assert "Traceback" not in server.said()


def test_what_outlasts_the_drain_is_told_so(slow_model: Path, tmp_path: Path) -> None:
    with started(slow_model, tmp_path, *SLOW, "--drain-s", "0.2") as server:
        server.wait_until_ready()
        reader = Reader(server, max_tokens=3900)
        reader.start()
        assert reader.has_begun.wait(LIMIT_S)
        server.signal(signal.SIGINT)
        assert server.wait() == 0, server.said()
        reader.join()
    assert events_of(reader.text)[-1]["error"]["code"] == "draining"
    assert "some aborted" in server.said()


def test_the_second_signal_ends_at_once(slow_model: Path, tmp_path: Path) -> None:
    with started(slow_model, tmp_path, *SLOW, "--drain-s", "600") as server:
        server.wait_until_ready()
        reader = Reader(server, max_tokens=3900)
        reader.start()
        assert reader.has_begun.wait(LIMIT_S)
        server.signal(signal.SIGTERM)
        while "draining" not in server.said():
            time.sleep(0.01)
        server.signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM  # a drain that had its time would have ended by 0
        reader.join()
    assert reader.was_cut


def test_a_signal_while_loading_ends_at_once(slow_model: Path, tmp_path: Path) -> None:
    with started(slow_model, tmp_path) as server:
        server.wait_until_listening()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.said()


def test_a_start_says_what_it_found_and_chose(tiny_gguf: Path, tmp_path: Path) -> None:
    with started(tiny_gguf, tmp_path, "--threads", "2", "--served-name", "sponge") as server:
        server.wait_until_ready()
        lines = [line for line in server.out.read_text().splitlines() if not line.startswith("still loading")]
        assert httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"] == "sponge"
    heads = ["listening on", "gRPC on", "cpu", "threads", "model", "kv", *["op"] * 6, "ready on"]
    assert [line[: len(head)] for line, head in zip(lines, heads, strict=True)] == heads
    assert server.err.read_text() == ""


def fails(*arguments: str) -> str:
    """What a start that fails says: one line, and a status that is not 0."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "service.cli", "serve", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("gemmule: ")
    assert len(line) < 600
    return line


def test_a_port_in_use(tiny_gguf: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(str(tiny_gguf), "--port", str(port))
    assert line == f"gemmule: cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_model(tiny_gguf: Path, tmp_path: Path, kept: float) -> None:
    raw = tiny_gguf.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(raw[: int(len(raw) * kept)])
    assert "cut.gguf" in fails(str(cut), "--port", "0")


def test_models_that_contradict_themselves(tiny_gguf_of: Callable[..., Path], tmp_path: Path) -> None:
    raw = tiny_gguf_of().read_bytes()
    for name, old, new, says in (
        ("architecture", b"\x05\x00\x00\x00\x00\x00\x00\x00llama", b"\x05\x00\x00\x00\x00\x00\x00\x00llamb", "'llamb'"),
        ("tensor", b"blk.1.ffn_up.weight", b"blk.1.ffn_uq.weight", "blk.1.ffn_up.weight is missing"),
        ("norm", b"output_norm.weight", b"output_norn.weight", "output_norm.weight is missing"),
    ):
        assert old in raw
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(raw.replace(old, new))
        assert says in fails(str(path), "--port", "0")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--ctx", "1048577"), "ctx=1048577 is more than the model's context of 1048576 tokens"),
        (("--kv-memory", "100"), "100 bytes"),
        (("--kv-memory", "900TiB", "--max-batch", "512", "--ctx", "1048576"), "does not fit"),
        (("--max-batch", "64", "--max-step-tokens", "32"), "max_batch=64 is more than max_step_tokens=32"),
        (("--isa", "sve9"), "sve9"),
        (("--threads", "0"), "--threads=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_settings_that_cannot_be_met(tiny_gguf_of: Callable[..., Path], flags: tuple[str, ...], says: str) -> None:
    assert says in fails(str(tiny_gguf_of(context=1 << 20)), "--port", "0", *flags)


@pytest.mark.parametrize(
    "flags",
    [
        ("--max-batch", "1", "--max-step-tokens", "1"),
        ("--kv-memory", str(BLOCK_BYTES)),
        ("--ctx", "32", "--threads", "5"),
        ("--max-batch", "1024", "--max-step-tokens", "65536"),
    ],
    ids=" ".join,
)
def test_the_least_and_the_most_of_the_settings(tiny_gguf: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    with started(tiny_gguf, tmp_path, *flags) as server:
        server.wait_until_ready()
        body = {"prompt": [5] * 20, "max_tokens": 50, "ignore_eos": True}
        response = httpx.post(f"{server.url}{COMPLETIONS}", json={**body, "max_tokens": 12}, timeout=LIMIT_S)
        assert response.json()["usage"]["completion_tokens"] == 12
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.said()
