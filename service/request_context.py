"""Where a request comes from: its id, its operation, the trace that it belongs to. Knows no face and no engine.

A face sets `current_context` for the task that serves the request; whoever admits it to the engine reads it there. From
then on the context travels with the request.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum


class Operation(Enum):
    """OpenTelemetry's `gen_ai.operation.name`."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    request_id: str = ""
    """The caller's own, or the one that we gave it; the log says it."""
    operation: Operation = Operation.TEXT_COMPLETION
    trace_id: int = 0
    """W3C's, 128 bits; 0: none."""
    span_id: int = 0
    """Of the span that is the parent of all that happens to the request, 64 bits."""
    is_sampled: bool = False
    """Somebody collects this trace."""

    @property
    def trace_hex(self) -> str:
        """As logs and exemplars show it; empty without a trace."""
        return f"{self.trace_id:032x}" if self.trace_id else ""


NO_CONTEXT = RequestContext()
current_context: ContextVar[RequestContext] = ContextVar("gemmule_request_context", default=NO_CONTEXT)
