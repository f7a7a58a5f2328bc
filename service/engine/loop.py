"""The engine thread: takes commands, plans, runs, commits, reports; sleeps when idle. Knows no asyncio and no text.

It owns the scheduler and everything below; others send commands and read reports, so there are no locks. Between two
native calls it needs the GIL, and waits for it up to the switch interval whenever another thread computes in Python:
the app sets `sys.setswitchinterval(1e-4)` at start-up (at the default 5 ms a 2.5 ms step takes 13 ms). For the same
reason the report of a step goes out when the next one begins: whom it wakes then computes beside that step.
"""

import contextlib
import logging
import queue
from collections.abc import Callable
from collections.abc import Sequence as Seq

from service.engine.observer import FirstToken, RequestTimings, StepTimings, first_token_of, timings_of
from service.engine.output import Output
from service.engine.plan import StepPlan
from service.engine.report import Abort, Add, Command, Occupancy, StepReport, Stop
from service.engine.request import FailedRow, FinishReason, SampledToken, TokenEvent
from service.engine.runner import Runner
from service.engine.scheduler import Scheduler
from service.engine.sequence import Sequence
from service.errors import DeadlineExceeded, Draining, GemmuleError, StepFailed

_log = logging.getLogger(__name__)

# What clients hear; the log has the reasons, which may name files and addresses.
NO_STEP = "the server could not compute the next tokens; its log says why"
NO_TIME = "the time limit of the request has passed before its first token"
NO_TOKEN = "the model gave no usable numbers for the next token of this request"


class EngineLoop:
    """`run` is the thread's target. `post` takes the reports, on this thread, and must not block."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        commands: queue.Queue[Command],
        post: Callable[[StepReport], None],
        clock: Callable[[], float],
        idle_wake_s: float,
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        for computing in (runner, *scheduler.drafting.runners):
            computing.on_filled = self._send
        self._commands = commands
        self._post = post
        self._clock = clock
        self._idle_wake_s = idle_wake_s
        self._events: list[tuple[str, TokenEvent]] = []
        self._finished: list[RequestTimings] = []
        self._unsent: StepReport | None = None
        """Of the last step."""
        self.heartbeat_s = clock()
        """When the thread last came round, by the engine's clock. Others read it."""
        self.idle_s = 0.0
        """How long the thread has waited for work, in all. Others read it."""
        self._accounted_s = clock()
        """Up to here every second is idle or a part of a step."""

    def run(self) -> None:
        self._accounted_s = self._clock()
        try:
            while self._take_commands():
                self.heartbeat_s = self._clock()
                for sequence in self._scheduler.expire(self.heartbeat_s):
                    self._expire(sequence)
                if self._scheduler.has_work:
                    self._step()
                elif self._events:
                    self._report(None)
            for sequence in self._scheduler.abort_all():
                self._end(sequence, FinishReason.ABORT, Draining("the server has shut down"))
            self._report(None)
        except Exception as fault:
            _log.exception("the engine thread has failed")
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody is left to hear it
                self._send()
                self._post(StepReport(Occupancy(), fault=fault))

    def _take_commands(self) -> bool:
        """Carry out what has been sent; without other work, wait for it. False: stop."""
        if not self._scheduler.has_work:
            self._send()
            begun_s = self._clock()
            try:
                command = self._commands.get(timeout=self._idle_wake_s)
            except queue.Empty:
                self._was_idle(begun_s)
                self._scheduler.check()
            else:
                self._was_idle(begun_s)
                if not self._carry_out(command):
                    return False
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return True
            if not self._carry_out(command):
                return False

    def _was_idle(self, begun_s: float) -> None:
        waited_s = self._clock() - begun_s
        self.idle_s += waited_s
        self._accounted_s += waited_s

    def _carry_out(self, command: Command) -> bool:
        match command:
            case Add(request, seed):
                self._scheduler.add(request, seed)
            case Abort(request_id):
                sequence = self._scheduler.abort(request_id)
                if sequence is not None:  # else it has ended in the meantime, and was reported so
                    self._end(sequence, FinishReason.ABORT, None)
            case Stop():
                return False
        return True

    def _step(self) -> None:
        planned_s = self._accounted_s
        plan = self._scheduler.plan()
        started_s = self._clock()
        for chunk in plan.chunks:
            if chunk.sequence.scheduled_s is None:
                chunk.sequence.scheduled_s = started_s
        error: Exception | None = None
        first_tokens: list[FirstToken] = []
        gaps_s: list[float] = []
        try:
            sampled = self._run(plan)
        except Exception as raised:
            error = raised
            _log.exception("a step of %d tokens has failed", plan.num_tokens)
        self.heartbeat_s = ended_s = self._clock()
        num_prefill_tokens = 0
        for chunk in plan.chunks:
            if not chunk.is_decode:
                chunk.sequence.prefill_chunks.append((started_s, ended_s, chunk.num_tokens))
                num_prefill_tokens += chunk.num_tokens
        if error is None:
            self._scheduler.observe(plan, ended_s - started_s)
            for output in self._scheduler.commit(plan, sampled):
                self._hand_out(output, ended_s, first_tokens, gaps_s)
        else:
            for sequence in self._scheduler.fail(plan):
                self._end(sequence, FinishReason.ERROR, StepFailed(NO_STEP))
        self._accounted_s = self._clock()
        self._report(
            StepTimings(
                phase=plan.phase,
                num_tokens=plan.num_tokens,
                num_sequences=len(plan.chunks),
                num_preempted=plan.num_preempted,
                num_prefill_tokens=num_prefill_tokens,
                begun_s=planned_s,
                plan_s=started_s - planned_s,
                run_s=ended_s - started_s,
                commit_s=self._accounted_s - ended_s,
                first_tokens=tuple(first_tokens),
                token_gaps_s=tuple(gaps_s),
                error=error,
            )
        )

    def _run(self, plan: StepPlan) -> Seq[SampledToken | FailedRow]:
        sampled = self._runner.run(plan)
        if len(sampled) != plan.num_logit_rows:
            raise RuntimeError(f"the runner sampled {len(sampled)} tokens, the plan has {plan.num_logit_rows}")
        return sampled

    def _hand_out(self, output: Output, now_s: float, first_tokens: list[FirstToken], gaps_s: list[float]) -> None:
        sequence, token, reason = output.sequence, output.token, output.finish_reason
        if isinstance(token, FailedRow):
            level = logging.ERROR if token.refusal is None else logging.INFO
            _log.log(level, "request %s fails at token %d: %s", sequence.id, len(sequence.token_ids), token.reason)
            self._end(sequence, FinishReason.ERROR, token.refusal or StepFailed(NO_TOKEN))
            return
        scores: tuple[SampledToken, ...] = ()
        if sequence.last_token_s is None:
            scores = tuple(sequence.scores)
            sequence.first_token_s = now_s
            first = first_token_of(sequence)
            assert first is not None
            first_tokens.append(first)
        else:
            gaps_s.append(now_s - sequence.last_token_s)
        sequence.last_token_s = now_s
        num_cached = sequence.num_cached_tokens or 0
        event = TokenEvent((token,), reason, output.is_complete, num_cached, prompt_tokens=scores)
        self._events.append((sequence.id, event))
        if reason is not None:
            self._finished.append(timings_of(sequence, reason, now_s))

    def _expire(self, sequence: Sequence) -> None:
        if sequence.num_output_tokens:
            self._end(sequence, FinishReason.LENGTH, None)
        else:
            self._end(sequence, FinishReason.ERROR, DeadlineExceeded(NO_TIME))

    def _end(self, sequence: Sequence, reason: FinishReason, error: GemmuleError | None) -> None:
        num_cached = sequence.num_cached_tokens or 0
        self._events.append((sequence.id, TokenEvent((), reason, num_cached_tokens=num_cached, error=error)))
        code = None if error is None else error.code
        self._finished.append(timings_of(sequence, reason, self._clock(), code))

    def _report(self, step: StepTimings | None) -> None:
        scheduler = self._scheduler
        occupancy = Occupancy(
            scheduler.num_running,
            scheduler.num_used_blocks,
            scheduler.num_cached_blocks,
            scheduler.prefix_stats,
            scheduler.drafting.stats,
            scheduler.drafting.num_used_blocks,
            scheduler.num_forced_tokens,
        )
        self._send()
        self._unsent = StepReport(occupancy, tuple(self._events), tuple(self._finished), step)
        self._events.clear()
        self._finished.clear()
        if step is None:
            self._send()

    def _send(self) -> None:
        if self._unsent is not None:
            report, self._unsent = self._unsent, None
            self._post(report)
