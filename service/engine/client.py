"""The engine as the event loop sees it: admit, stream, abort, drain, count. Knows no step.

All of it runs on one event loop's thread; the engine thread is reached by commands and heard through reports.
"""

import asyncio
import contextlib
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.engine.admission import Admission
from service.engine.block_tables import PrefixStats
from service.engine.drafter import DraftStats
from service.engine.loop import EngineLoop
from service.engine.observer import EngineObserver, NoObserver
from service.engine.report import Abort, Add, Command, Occupancy, StepReport, Stop
from service.engine.request import DrafterKind, FinishReason, Request, TokenEvent
from service.engine.runner import Runner
from service.engine.scheduler import Scheduler
from service.engine.stream import TokenStream
from service.errors import Draining, GemmuleError, NotReady, StepFailed

STALL_S = 60.0
"""An engine thread that has not come round for so long hangs: no step takes as long."""
SEED_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class EngineStats:
    num_queued: int
    num_running: int
    num_used_blocks: int
    num_blocks: int
    num_cached_blocks: int
    """Free ones whose contents can still be found."""
    prefixes: PrefixStats
    heartbeat_age_s: float
    """Since the engine thread last came round: about as long as a step, or up to `idle_wake_s` when it is idle."""
    is_alive: bool
    """The engine thread runs."""
    idle_s: float
    """How long it has waited for work since it began."""
    num_waiting_tokens: int = 0
    """Prompt tokens of the requests whose first token has not been heard of."""
    drafts: Mapping[DrafterKind, DraftStats] = field(default_factory=dict)
    """Of the drafters that have guessed."""
    num_used_draft_blocks: int = 0
    num_draft_blocks: int = 0
    """KV blocks of the draft model; 0 without one."""
    num_forced_tokens: int = 0

    @property
    def is_well(self) -> bool:
        """The engine thread is there and comes round."""
        return self.is_alive and self.heartbeat_age_s < STALL_S

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache that sequences hold, 0 to 1."""
        return self.num_used_blocks / self.num_blocks if self.num_blocks else 0.0


class EngineClient:
    """Owns the engine thread from `start` to `stop`."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        *,
        max_queue: int = 256,
        max_queue_tokens: int = 1 << 18,
        observer: EngineObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw_seed: Callable[[], int] = lambda: secrets.randbits(64),
        idle_wake_s: float = 1.0,
    ) -> None:
        """`max_queue_tokens`: of prompts that wait.

        `idle_wake_s`: how often the idle engine thread wakes to beat its heart and to check its books.
        """
        self._scheduler = scheduler
        self._observer = observer if observer is not None else NoObserver()
        self._clock = clock
        self._draw_seed = draw_seed
        self._admission = Admission(scheduler.limits.max_batch + max_queue, max_queue_tokens)
        # An open request sends an Add and at most one Abort, and stays open until we have heard that the engine let
        # go of it; an Abort sent just before we heard lasts until the next step. So the commands are bounded by the
        # requests, and putting one never waits and never fails.
        self._commands: queue.Queue[Command] = queue.Queue(3 * self._admission.max_open + 1)
        self._loop = EngineLoop(scheduler, runner, self._commands, self._post, clock, idle_wake_s)
        self._thread = threading.Thread(target=self._loop.run, name="engine", daemon=True)
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._streams: dict[str, TokenStream] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._refuse: Callable[[], GemmuleError] | None = lambda: NotReady("the engine has not been started")
        self._occupancy = Occupancy()

    @property
    def max_context(self) -> int:
        """Tokens that a request can have, prompt and output."""
        return self._scheduler.max_context

    @property
    def clock(self) -> Callable[[], float]:
        """What `Request.arrival_s` is measured by."""
        return self._clock

    def start(self) -> None:
        """Call on the event loop that will hear the reports."""
        assert self._event_loop is None, "an engine starts once"
        self._event_loop = asyncio.get_running_loop()
        self._refuse = None
        self._thread.start()

    async def stop(self, drain_s: float) -> bool:
        """Refuse new requests, give the open ones `drain_s` to end, abort the rest, end the thread.

        Returns whether all of them ended by themselves. Waits for the step under way, however long it takes.
        """
        assert self._event_loop is not None, "an engine that was never started cannot stop"
        self._refuse = lambda: Draining("the server is shutting down")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._none_open.wait()
        num_left = len(self._streams)
        if self._thread.is_alive():
            self._commands.put_nowait(Stop())
        await asyncio.to_thread(self._thread.join)
        return num_left == 0

    def generate(self, request: Request) -> TokenStream:
        """Admit a request. Raises what refuses it: NotReady, Draining, QueueFull, ContextOverflow."""
        if self._refuse is not None:
            raise self._refuse()
        assert request.id not in self._streams, f"request {request.id} is open already"
        self._scheduler.check_fits(request)
        self._admission.check(len(request.prompt_ids))
        seed = request.sampling.seed
        stream = TokenStream(abort=lambda: self._commands.put_nowait(Abort(request.id)))
        self._streams[request.id] = stream
        self._admission.enter(request.id, len(request.prompt_ids))
        self._none_open.clear()
        self._commands.put_nowait(Add(request, SEED_MASK & (self._draw_seed() if seed is None else seed)))
        return stream

    def stats(self) -> EngineStats:
        return EngineStats(
            num_queued=len(self._streams) - self._occupancy.num_running,
            num_running=self._occupancy.num_running,
            num_used_blocks=self._occupancy.num_used_blocks,
            num_blocks=self._scheduler.num_blocks,
            num_cached_blocks=self._occupancy.num_cached_blocks,
            prefixes=self._occupancy.prefixes,
            heartbeat_age_s=self._clock() - self._loop.heartbeat_s,
            is_alive=self._thread.is_alive(),
            idle_s=self._loop.idle_s,
            num_waiting_tokens=self._admission.num_waiting_tokens,
            drafts=self._occupancy.drafts,
            num_used_draft_blocks=self._occupancy.num_used_draft_blocks,
            num_draft_blocks=self._scheduler.drafting.num_blocks,
            num_forced_tokens=self._occupancy.num_forced_tokens,
        )

    def _post(self, report: StepReport) -> None:
        """On the engine thread: the only call from there into the event loop."""
        assert self._event_loop is not None
        self._event_loop.call_soon_threadsafe(self._receive, report)

    def _receive(self, report: StepReport) -> None:
        self._occupancy = report.occupancy
        for request_id, event in report.events:
            self._deliver(request_id, event)
        if report.fault is not None:
            message = "the engine has failed and takes no more requests; the server's log says why"
            self._refuse = lambda: StepFailed(message)
            for request_id in list(self._streams):
                self._deliver(request_id, TokenEvent((), FinishReason.ERROR, error=StepFailed(message)))
        if report.step is not None:
            self._observer.on_step(report.step)
        for timings in report.finished:
            self._observer.on_finish(timings)

    def _deliver(self, request_id: str, event: TokenEvent) -> None:
        self._streams[request_id].deliver(event)
        self._admission.begin(request_id)
        if event.finish_reason is not None:
            self._admission.end(request_id, self._clock())
            del self._streams[request_id]
            if not self._streams:
                self._none_open.set()
