"""The life of the process: settings -> listener -> model -> engine -> ready -> drain -> exit. Knows no request.

The listener answers from the start, with 503 on /health/ready until the model is there. The first SIGTERM or SIGINT
turns readiness to 503, lets running requests end within `drain_s`, stops the engine and exits 0; a second one ends the
process at once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import uvloop

from service.access import Access
from service.assembly import SWITCH_INTERVAL_S, LoadedModel, Traces, open_engine
from service.engine.client import EngineClient
from service.generate.serving import Serving
from service.http.application import create_app
from service.http.server import allow_sockets, answering, listen, url_of
from service.metrics.service_metrics import ServiceMetrics
from service.settings import Settings
from service.tracing.request_traces import request_traces_to
from service.tracing.step_traces import StepTraces

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE_S = 4.0
"""How long a start may take before it says why."""
WATCH_S = 1.0
"""How often the app looks whether the engine thread is still alive."""


ModelLoader = Callable[[], Sequence[LoadedModel]]
"""All models that can be loaded, at least one, or the error of the first. Their names differ."""


def serve(settings: Settings) -> int:
    """Run until a signal; returns the exit status."""
    from service.logs import configure_logs

    configure_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    allow_sockets(settings.max_connections)

    def load() -> Sequence[LoadedModel]:
        # Imported here, on the loading thread, because numba alone takes longer to import than all the rest.
        from service.load_models import load_models

        return load_models(settings)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Service(settings, load).run())


class Service:
    """One run of the process, with its seams open: the loader, the clock, the output and the sudden end."""

    def __init__(
        self,
        settings: Settings,
        load: ModelLoader,
        *,
        announce: Callable[[str], None] = lambda line: print(line, flush=True),
        clock: Callable[[], float] = time.monotonic,
        exit_now: Callable[[int], object] = os._exit,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._settings = settings
        self._load = load
        self._announce = announce
        self._clock = clock
        self._exit_now = exit_now
        self._patience_s = patience_s
        self._step_traces = StepTraces()
        self._request_traces = request_traces_to(settings.otlp_endpoint)
        has_many_models = len(settings.models) > 1
        self._metrics = ServiceMetrics(has_vllm_names=settings.vllm_metrics, has_many_models=has_many_models)
        self._access = Access(settings.api_keys, settings.api_key_file)
        self._serving = Serving(ask_to_stop=self._ask_to_stop)
        self._engines: list[EngineClient] = []
        self._stop = asyncio.Event()

    async def run(self) -> int:
        begun_s = self._clock()
        settings = self._settings
        listener = listen(settings.host, settings.port)
        app = create_app(
            self._serving,
            self._metrics,
            self._step_traces,
            self._request_traces,
            max_body=settings.max_body,
            access=self._access,
            allowed_origins=settings.allowed_origins,
        )
        http_face = answering(
            app,
            listener,
            keep_alive_s=settings.keep_alive_s,
            max_connections=settings.max_connections,
            tls=settings.tls,
        )
        with self._signals():
            async with http_face, contextlib.AsyncExitStack() as faces:
                url = url_of(listener, tls=settings.tls is not None)
                self._announce(f"listening on {url}, loading {settings.model}")
                loading = _on_a_thread(self._load)
                if settings.has_grpc:
                    await faces.enter_async_context(self._grpc_face(listener))
                stopping = asyncio.ensure_future(self._stop.wait())
                await self._until_loaded(loading, stopping)
                if not loading.done():
                    self._serving.drain()
                    loading.cancel()
                    log.info("stopped while loading")
                    # The loading thread cannot be interrupted, and must not run into the interpreter's own end.
                    self._exit_now(0)
                    return 0
                with contextlib.ExitStack() as closing:
                    for model in loading.result():
                        closing.callback(model.close)
                        self._open(model)
                    for served in self._serving.models:
                        for line in served.description:
                            self._announce(line)
                    self._announce(f"ready on {url} after {self._clock() - begun_s:.2f} s")
                    status = await self._until_stopped(stopping)
                    await self._drain()
        return status

    @contextlib.asynccontextmanager
    async def _grpc_face(self, listener: socket.socket) -> AsyncIterator[None]:
        # Imported while the model is being loaded: grpc takes a tenth of a second. Its own log would not be ours.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from service.rpc.server import Limits
        from service.rpc.server import answering as answering_calls

        settings = self._settings
        port = settings.grpc_port_or(listener.getsockname()[1] + 1 if settings.port else 0)
        limits = Limits(self._access, settings.max_body, settings.max_connections, settings.tls)
        face = answering_calls(self._serving, self._metrics, settings.host, port, limits, self._request_traces)
        async with face as address:
            self._announce(f"gRPC on {address}")
            yield

    async def _until_loaded(self, *either: asyncio.Future[Any]) -> None:
        """Until one of them is done; says why, when it takes long."""
        done, _ = await asyncio.wait(either, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._announce(
                "still loading; the first start on a machine takes longest, for it compiles the kernels for its CPU"
            )
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

    def _open(self, model: LoadedModel) -> None:
        traces = Traces(None if self._engines else self._step_traces, self._request_traces)
        self._engines.append(open_engine(model, self._settings, self._serving, self._metrics, traces))

    async def _until_stopped(self, stopping: asyncio.Task[Literal[True]]) -> int:
        """The exit status: 1 if an engine failed, so that whoever restarts processes does."""
        while not stopping.done():
            await asyncio.wait((stopping,), timeout=WATCH_S)
            if not all(engine.stats().is_alive for engine in self._engines):
                log.error("an engine thread has failed; the process ends")
                stopping.cancel()
                return 1
        return 0

    async def _drain(self) -> None:
        self._serving.drain()
        begun_s = self._clock()
        log.info("draining for up to %.1f s", self._settings.drain_s)
        all_ended = all(await asyncio.gather(*(engine.stop(self._settings.drain_s) for engine in self._engines)))
        await asyncio.to_thread(self._request_traces.close)
        log.info("drained after %.2f s, %s", self._clock() - begun_s, "all done" if all_ended else "some aborted")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("second signal (%s): ending at once", number.name)
            self._exit_now(128 + number)
        log.info("%s: stopping", number.name)
        self._stop.set()

    def _ask_to_stop(self) -> None:
        log.info("asked to drain: stopping")
        self._stop.set()


def _on_a_thread(work: Callable[[], Result]) -> asyncio.Future[Result]:
    """Like asyncio.to_thread, on a daemon thread: nothing at exit waits for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def target() -> None:
        try:
            outcome: tuple[Result | None, BaseException | None] = (work(), None)
        except Exception as error:
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=target, name="load", daemon=True).start()
    return future
