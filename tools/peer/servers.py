"""Starts gemmule and llama-server as processes, on one model file and with as many threads. Knows no load."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tools.peer.llamacpp import PeerError, programs

READY_S, END_S, PROBE_S = 300.0, 30.0, 0.2


@dataclass(frozen=True, slots=True)
class Serving:
    """What the two are asked for."""

    model: Path
    num_threads: int
    max_batch: int
    """Of gemmule: sequences in a step."""
    num_slots: int
    """Of llama-server."""
    ctx: int
    """Tokens of a sequence."""

    def ours(self, port: int) -> list[str]:
        sizes = ["--threads", str(self.num_threads), "--max-batch", str(self.max_batch), "--ctx", str(self.ctx)]
        command = [sys.executable, "-m", "service.cli", "serve", str(self.model), "--port", str(port)]
        return [*command, "--grpc-port", "off", "--no-prefix-cache", *sizes]

    def peer(self, port: int) -> list[str]:
        """Without the prompts that it keeps in memory: no prompt comes twice, and copying them costs it time."""
        sizes = ["-t", str(self.num_threads), "-np", str(self.num_slots), "-c", str(self.num_slots * self.ctx)]
        command = [str(programs(("llama-server",)) / "llama-server"), "-m", str(self.model), "--cache-ram", "0"]
        return [*command, "--host", "127.0.0.1", "--port", str(port), *sizes]


@contextmanager
def running(name: str, command: Sequence[str], port: int) -> Iterator[str]:
    """The server's URL, once it is ready; it ends with the block. Raises PeerError."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=dict(os.environ))
        try:
            give_up_s = time.monotonic() + READY_S
            while not _is_ready(url):
                if process.poll() is not None or time.monotonic() > give_up_s:
                    log.seek(0)
                    lines = log.read().strip().splitlines()
                    status = f"ended with {process.returncode}" if process.poll() is not None else "is not ready"
                    raise PeerError(f"{name} {status}: {lines[-1] if lines else 'no message'}")
                time.sleep(PROBE_S)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(url: str) -> bool:
    """Both say 503 while they load: gemmule on /health/ready, llama-server on /health, and 404 on the other's."""
    try:
        return any(httpx.get(url + path, timeout=5.0).status_code == 200 for path in ("/health/ready", "/health"))
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
