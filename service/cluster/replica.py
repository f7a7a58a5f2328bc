"""One replica: a model, its engine, and the HTTP face called without a socket. Knows no Ray and no other replica."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any

from service.access import Access
from service.assembly import SWITCH_INTERVAL_S, Traces, open_engine
from service.cluster.call import Call, Head
from service.generate.serving import Serving
from service.http.application import create_app
from service.logs import configure_logs
from service.metrics.service_metrics import ServiceMetrics
from service.settings import Settings
from service.tracing.request_traces import request_traces_to
from service.tracing.step_traces import StepTraces

MAX_PIECES = 256
"""Of an answer that its reader has not taken; the writer then waits."""


class EngineFailed(Exception):
    """The engine thread ended or hangs: whoever watches replicas starts another."""


class EngineReplica:
    """Answers calls from when it is made, on the event loop that it is made on."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: those of `gemmule serve`, by name; GEMMULE_* variables count too."""
        self._settings = Settings(**settings)
        configure_logs(self._settings.log_level, self._settings.log_format)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        from service.load_draft import load_alone

        self._model = load_alone(self._settings)
        self._serving, metrics = Serving(), ServiceMetrics(has_vllm_names=self._settings.vllm_metrics)
        traces = Traces(StepTraces(), request_traces_to(self._settings.otlp_endpoint))
        access = Access(self._settings.api_keys, self._settings.api_key_file)
        self._app = create_app(
            self._serving, metrics, traces.steps, traces.requests, max_body=self._settings.max_body, access=access
        )
        self._engine = open_engine(self._model, self._settings, self._serving, metrics, traces)

    async def answer(self, call: Call) -> AsyncIterator[Head | bytes]:
        """A Head, then the body's pieces as they are made. Whoever stops reading cancels the request."""
        sent: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue(MAX_PIECES)
        is_gone = asyncio.Event()
        bodies = iter([call.body])

        async def receive() -> MutableMapping[str, Any]:
            for body in bodies:
                return {"type": "http.request", "body": body, "more_body": False}
            await is_gone.wait()
            return {"type": "http.disconnect"}

        async def run() -> None:
            try:
                await self._app(_scope(call), receive, sent.put)
            finally:
                await sent.put(None)

        running = asyncio.ensure_future(run())
        try:
            while (message := await sent.get()) is not None:
                if message["type"] == "http.response.start":
                    headers = tuple((bytes(name), bytes(value)) for name, value in message["headers"])
                    yield Head(message["status"], headers)
                elif message["type"] == "http.response.body" and message.get("body"):
                    yield bytes(message["body"])
            await running
        finally:
            is_gone.set()
            if not running.done():
                running.cancel()

    def check_health(self) -> None:
        """Raises EngineFailed."""
        if not self._engine.stats().is_well:
            raise EngineFailed("the engine thread has ended or hangs")

    def identity(self) -> dict[str, Any]:
        """Who answers: for a rehearsal that has to find the process."""
        return {"pid": os.getpid(), "model": self._serving.models[0].name, "threads": self._model.limits.num_threads}

    async def close(self, drain_s: float) -> None:
        """Nothing may be asked after it."""
        self._serving.drain()
        await self._engine.stop(drain_s)
        self._model.close()


def _scope(call: Call) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": call.path,
        "raw_path": call.path.encode(),
        "query_string": call.query,
        "root_path": "",
        "headers": list(call.headers),
        "client": None,
        "server": None,
    }
