"""What crosses from the engine thread to the event loop: one report a step, and the commands the other way. Facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.engine.block_tables import NO_PREFIXES, PrefixStats
from service.engine.drafter import DraftStats
from service.engine.observer import RequestTimings, StepTimings
from service.engine.request import DrafterKind, Request, TokenEvent


@dataclass(frozen=True, slots=True)
class Add:
    request: Request
    seed: int


@dataclass(frozen=True, slots=True)
class Abort:
    request_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Abort whatever is left and end the thread."""


Command = Add | Abort | Stop


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Who holds what after a step."""

    num_running: int = 0
    num_used_blocks: int = 0
    num_cached_blocks: int = 0
    prefixes: PrefixStats = NO_PREFIXES
    drafts: Mapping[DrafterKind, DraftStats] = field(default_factory=dict)
    num_used_draft_blocks: int = 0
    """Of the draft model."""
    num_forced_tokens: int = 0
    """Since the start: tokens that constraints left no choice about."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """Everything that happened since the last report."""

    occupancy: Occupancy
    events: tuple[tuple[str, TokenEvent], ...] = ()
    """(request id, event) in order; several for a request whose guesses were right."""
    finished: tuple[RequestTimings, ...] = ()
    step: StepTimings | None = None
    """None: commands alone, no step."""
    fault: Exception | None = None
    """The engine thread itself has failed: this is the last report, and no open request will hear more."""
