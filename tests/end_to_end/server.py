"""`gemmule serve` as a process of its own on a free port of 127.0.0.1, and its metrics. Knows no test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

START_S = 240.0
"""A start on empty caches compiles everything, and the machine may be busy."""
LIMIT_S = 60.0


class Server:
    """A started process; `out` and `err` are files, so that nothing it says can block it."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "service.cli", "serve", *arguments, "--port", "0"],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.url = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def said(self) -> str:
        return f"stdout:\n{self.out.read_text()}\nstderr:\n{self.err.read_text()}"

    def wait_until_listening(self) -> None:
        """From here on there is a URL; the model may still be on its way."""
        self.url = self._wait_for_line("listening on ").split(",")[0]

    def wait_until_ready(self) -> None:
        self.url = self._wait_for_line("ready on ").split(" after ")[0]

    def grpc_address(self) -> str:
        return self._wait_for_line("gRPC on ")

    def _wait_for_line(self, start: str) -> str:
        """What follows `start` in the line of standard output that begins so."""
        give_up_s = time.monotonic() + START_S
        while time.monotonic() < give_up_s:
            ended = self._process.poll()
            for line in self.out.read_text().splitlines(keepends=True):
                if line.startswith(start) and line.endswith("\n"):
                    return line.removeprefix(start).rstrip("\n")
            assert ended is None, f"ended with {ended} instead of {start!r}; {self.said()}"
            time.sleep(0.01)
        raise AssertionError(f"not {start!r} within {START_S} s; {self.said()}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        return self._process.wait(LIMIT_S)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def metrics(self) -> "Metrics":
        return Metrics(httpx.get(f"{self.url}/metrics", timeout=LIMIT_S).text)

    def wait_for_metric(self, name: str, wanted: float, within_s: float = LIMIT_S, **labels: str) -> "Metrics":
        """The first scrape that has the value."""
        give_up_s = time.monotonic() + within_s
        while True:
            metrics = self.metrics()
            if metrics.value(name, **labels) == wanted:
                return metrics
            assert time.monotonic() < give_up_s, f"{name} is {metrics.value(name, **labels)}, not {wanted}"
            time.sleep(0.02)  # a scrape costs the server some milliseconds


class Metrics:
    """One scrape of /metrics."""

    def __init__(self, text: str) -> None:
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """0 for a series that is not there."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> list[dict[str, str]]:
        """Of every series with this name."""
        return [dict(labels) for sample_name, labels in self.samples if sample_name == name]

    def sum(self, name: str, **labels: str) -> float:
        """Of every series that has these labels among its own."""
        wanted = frozenset(labels.items())
        return sum(value for (sample, own), value in self.samples.items() if sample == name and wanted <= own)


@contextmanager
def started(model: Path | str, folder: Path, *flags: str, **environment: str) -> Iterator[Server]:
    """A server, ready or not; killed at the end if it still runs."""
    server = Server((str(model), *flags), folder, environment)
    try:
        yield server
    finally:
        server.kill()


def leave_when_told() -> None:
    """SIGTERM ends a check as an error does: its servers end with it, and are not left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def served(model: Path | str, folder: Path, *flags: str, **environment: str) -> Iterator[Server]:
    """A ready server; at the end it must be idle, healthy and willing to go, and have met no surprise."""
    with started(model, folder, *flags, **environment) as server:
        server.wait_until_ready()
        yield server
        server.wait_for_metric("gemmule_kv_blocks_used", 0)
        server.wait_for_metric("gemmule_requests_waiting", 0)
        assert server.metrics().value("gemmule_engine_alive") == 1
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.said()
        assert "Traceback" not in server.said(), server.said()


def post(server: Server, path: str, body: Mapping[str, Any]) -> Any:
    """The decoded answer to a request that must succeed."""
    response = httpx.post(f"{server.url}{path}", json=body, timeout=LIMIT_S)
    assert response.status_code == 200, response.text
    return response.json()
