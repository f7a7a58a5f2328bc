"""What the engine tells whoever measures it. Knows no metric: Prometheus, logs and tests implement the Protocol."""

from dataclasses import dataclass
from typing import Protocol

from service.engine.plan import Phase
from service.engine.request import FinishReason
from service.engine.sequence import Sequence
from service.request_context import NO_CONTEXT, RequestContext


@dataclass(frozen=True, slots=True)
class FirstToken:
    """How long a request waited for its first output token."""

    queue_s: float
    """From arrival to the first step that computes any of it."""
    prefill_s: float
    """From there to the first token."""
    context: RequestContext = NO_CONTEXT

    @property
    def ttft_s(self) -> float:
        return self.queue_s + self.prefill_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimings:
    """One step, measured on the engine thread."""

    phase: Phase
    num_tokens: int
    num_sequences: int
    num_preempted: int
    num_prefill_tokens: int = 0
    """Of `num_tokens`, those of prompts."""
    begun_s: float
    """By the engine's clock, where `plan_s` begins; `plan_s`, `run_s` and `commit_s` follow each other."""
    plan_s: float
    """Everything since the step before but idleness: its report, commands, the plan."""
    run_s: float
    commit_s: float
    first_tokens: tuple[FirstToken, ...] = ()
    token_gaps_s: tuple[float, ...] = ()
    """For every other token sampled in this step: the time since its sequence's previous one."""
    error: Exception | None = None
    """What the runner raised: the step's requests failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTimings:
    """A request that the engine has let go of."""

    id: str
    finish_reason: FinishReason
    num_prompt_tokens: int
    num_output_tokens: int
    num_preemptions: int
    first_token: FirstToken | None
    """None: it ended before."""
    arrival_s: float
    """By the engine's clock."""
    total_s: float
    """From arrival to the end."""
    prefill_chunks: tuple[tuple[float, float, int], ...] = ()
    """Of each step that computed prompt tokens: its start and its end by the engine's clock, how many."""
    context: RequestContext = NO_CONTEXT
    error_code: str | None = None
    """Of the error that ended it."""

    @property
    def decode_s(self) -> float | None:
        """From the first token to the last."""
        return None if self.first_token is None else self.total_s - self.first_token.ttft_s

    @property
    def time_per_output_token_s(self) -> float | None:
        """Without the first one; None for a single token."""
        return (
            None
            if self.decode_s is None or self.num_output_tokens < 2
            else self.decode_s / (self.num_output_tokens - 1)
        )


class EngineObserver(Protocol):
    """Called on the event loop's thread, in the order of events, once the engine thread has moved on."""

    def on_step(self, step: StepTimings) -> None: ...

    def on_finish(self, request: RequestTimings) -> None: ...


class NoObserver:
    """Measures nothing."""

    def on_step(self, step: StepTimings) -> None:
        pass

    def on_finish(self, request: RequestTimings) -> None:
        pass


def first_token_of(sequence: Sequence) -> FirstToken | None:
    if sequence.scheduled_s is None or sequence.first_token_s is None:
        return None
    return FirstToken(
        queue_s=sequence.scheduled_s - sequence.request.arrival_s,
        prefill_s=sequence.first_token_s - sequence.scheduled_s,
        context=sequence.request.context,
    )


def timings_of(sequence: Sequence, reason: FinishReason, now_s: float, error_code: str | None = None) -> RequestTimings:
    return RequestTimings(
        id=sequence.id,
        finish_reason=reason,
        num_prompt_tokens=sequence.num_prompt_tokens,
        num_output_tokens=sequence.num_output_tokens,
        num_preemptions=sequence.num_preemptions,
        first_token=first_token_of(sequence),
        arrival_s=sequence.request.arrival_s,
        total_s=now_s - sequence.request.arrival_s,
        prefill_chunks=tuple(sequence.prefill_chunks),
        context=sequence.request.context,
        error_code=error_code,
    )
