"""A server of the demo model under load, and what it says of itself before and after: streaming's CPU, scrapes, the
engine thread's share.

The load is `python -m loadtest` in a process of its own: concurrency 16, streamed completions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.end_to_end.server import Metrics, Server, served

CONCURRENCY = 16
INPUT_TOKENS, OUTPUT_TOKENS, MOST_OUTPUT_TOKENS = 128, 128, 1800
MOST_CPU_S = 0.1
"""Of a core, for 1,000 streamed tokens: 10 % of one at 1,000 tokens/s."""
SCRAPE_EVERY_S = 0.05
WINDOW_S = 1.0
MOST_SCRAPE_S = 0.02
MOST_OUTSIDE = 0.05
"""Of a decode step, what the engine thread may spend outside of native calls."""
PREFILL_S, DECODE_S = 3.0, 10.0
"""Of streams of MOST_OUTPUT_TOKENS, which take longer: to the first tokens of all of them, and what is measured."""
OUTSIDE = ("plan", "fill", "turn", "gil_wait", "commit")


@dataclass(frozen=True, slots=True)
class Streaming:
    tokens: float
    seconds: float
    cpu_s: dict[str, float]
    """By part of the process: engine, team, masks, faces."""

    @property
    def faces_s_per_1000(self) -> float:
        return 1000 * (self.cpu_s["faces"] + self.cpu_s["masks"]) / self.tokens

    def line(self) -> str:
        parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in self.cpu_s.items())
        return (
            f"streaming at concurrency {CONCURRENCY}: {self.tokens:.0f} tokens in {self.seconds:.1f} s "
            f"({self.tokens / self.seconds:.0f}/s); CPU: {parts}; outside of engine and team "
            f"{self.faces_s_per_1000:.3f} CPU s a 1,000 tokens; bar {MOST_CPU_S}: "
            f"{'met' if self.is_met else 'NOT MET'}"
        )

    @property
    def is_met(self) -> bool:
        return self.faces_s_per_1000 <= MOST_CPU_S


@dataclass(frozen=True, slots=True)
class Scrapes:
    seconds: list[float]
    waits_s: tuple[float, float]
    """How long the engine thread waited for the interpreter, a step: with scrapes, without."""
    steps_s: tuple[float, float]
    """A step's time, likewise."""
    num_bytes: int

    @property
    def p95_s(self) -> float:
        return quantiles(self.seconds, n=20)[-1]

    @property
    def is_met(self) -> bool:
        return self.p95_s <= MOST_SCRAPE_S

    def line(self) -> str:
        middle = quantiles(self.seconds, n=2)[0]
        (wait, no_wait), (step, no_step) = self.waits_s, self.steps_s
        return (
            f"scrapes of the loaded server: {len(self.seconds)} of {self.num_bytes >> 10} KiB, median "
            f"{1e3 * middle:.1f} ms, p95 {1e3 * self.p95_s:.1f} ms, most {1e3 * max(self.seconds):.1f} ms; bar "
            f"{1e3 * MOST_SCRAPE_S:.0f} ms: {'met' if self.is_met else 'NOT MET'}. With {1 / SCRAPE_EVERY_S:.0f} a "
            f"second the engine waits {1e3 * wait:.3f} ms a step for the interpreter, without {1e3 * no_wait:.3f}; a "
            f"step takes {1e3 * step:.2f} ms, without {1e3 * no_step:.2f}"
        )


@dataclass(frozen=True, slots=True)
class EngineShare:
    """Of decode steps."""

    num_steps: float
    parts_s: dict[str, float]
    """The engine thread's time, by part, but for being idle."""

    @property
    def outside(self) -> float:
        """Share outside of native calls."""
        return sum(self.parts_s[part] for part in OUTSIDE) / sum(self.parts_s.values())

    @property
    def is_met(self) -> bool:
        return self.outside <= MOST_OUTSIDE

    def line(self) -> str:
        parts = ", ".join(f"{part} {1e3 * self.parts_s[part] / self.num_steps:.3f}" for part in OUTSIDE)
        return (
            f"engine thread outside of native calls at {CONCURRENCY} streams: {self.outside:.2%} of "
            f"{self.num_steps:.0f} decode steps of {1e3 * sum(self.parts_s.values()) / self.num_steps:.2f} ms "
            f"({parts} ms); bar {MOST_OUTSIDE:.0%}: {'met' if self.is_met else 'NOT MET'}"
        )


def engine(model: str, seconds: float) -> EngineShare:
    """Measured for `seconds`, DECODE_S at the most."""
    with _loaded(model, MOST_OUTPUT_TOKENS) as server:
        while server.metrics().sum("gemmule_requests_running") < CONCURRENCY:
            time.sleep(0.1)
        time.sleep(PREFILL_S)
        before = server.metrics()
        time.sleep(min(seconds, DECODE_S))
        after = server.metrics()
    part_s = "gemmule_step_part_seconds_total"
    parts_s = {
        (part := labels["part"]): after.value(part_s, part=part) - before.value(part_s, part=part)
        for labels in after.labels(part_s)
    }
    del parts_s["idle"]
    num_steps, *others = (
        after.sum("gemmule_step_duration_seconds_count", phase=phase)
        - before.sum("gemmule_step_duration_seconds_count", phase=phase)
        for phase in ("decode", "mixed", "prefill")
    )
    assert not any(others), f"steps with prompts among those measured: {others}"
    return EngineShare(num_steps, parts_s)


def streaming(model: str, seconds: float) -> Streaming:
    with _loaded(model) as server:
        before, begun_s = server.metrics(), time.monotonic()
        time.sleep(seconds)
        after, took_s = server.metrics(), time.monotonic() - begun_s
    parts = ("engine", "team", "masks", "faces")
    name, tokens = "gemmule_cpu_seconds_total", "gemmule_generation_tokens_total"
    cpu_s = {part: after.value(name, part=part) - before.value(name, part=part) for part in parts}
    return Streaming(after.value(tokens) - before.value(tokens), took_s, cpu_s)


def scrapes(model: str, seconds: float) -> Scrapes:
    """Windows of a second with many scrapes, and without any but those around it, in turn."""
    took: list[float] = []
    sums = {True: [0.0] * 3, False: [0.0] * 3}
    with _loaded(model) as server, closing(HTTPConnection(server.url.removeprefix("http://"), timeout=60.0)) as client:
        size = 0
        for window in range(2 * max(1, round(seconds / 2 / WINDOW_S))):
            before, end_s = server.metrics(), time.monotonic() + WINDOW_S
            while (now_s := time.monotonic()) < end_s:
                if window % 2 == 0:
                    client.request("GET", "/metrics")
                    size = len(client.getresponse().read())
                    took.append(time.monotonic() - now_s)
                time.sleep(SCRAPE_EVERY_S)
            for place, grown in enumerate(_steps(before, server.metrics())):
                sums[window % 2 == 0][place] += grown
    waits_s, steps_s = ({on: sums[on][place] / sums[on][0] for on in sums} for place in (1, 2))
    return Scrapes(took, (waits_s[True], waits_s[False]), (steps_s[True], steps_s[False]), size)


def _steps(before: Metrics, after: Metrics) -> tuple[float, float, float]:
    """Steps, seconds of waiting for the interpreter, seconds of steps."""

    def grown(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    return (
        grown("gemmule_step_duration_seconds_count"),
        grown("gemmule_step_part_seconds_total", part="gil_wait"),
        grown("gemmule_step_duration_seconds_sum"),
    )


@contextmanager
def _loaded(model: str, output_tokens: int = OUTPUT_TOKENS) -> Iterator[Server]:
    """All the while there is load, and its first answers have come."""
    with tempfile.TemporaryDirectory() as folder, served(model, Path(folder), "--grpc-port", "off") as server:
        lengths = ["--input-len", str(INPUT_TOKENS), "--output-len", str(output_tokens)]
        command = [sys.executable, "-m", "loadtest", server.url, "--concurrency", str(CONCURRENCY), *lengths]
        command += ["--duration", "3600", "--json"]
        load: subprocess.Popen[Any] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while server.metrics().value("gemmule_generation_tokens_total") < 50 * CONCURRENCY:
                assert load.poll() is None, " ".join(command)
                time.sleep(0.1)
            yield server
        finally:
            load.terminate()
            load.wait()
