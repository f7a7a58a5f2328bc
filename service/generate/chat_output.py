"""A chat answer as it grows: text events in; what is said, thought and called out. Knows no shape of a response."""

from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

from service.engine.request import FinishReason
from service.generate.reasoning import Reasoning
from service.generate.text import TextEvent
from service.generate.tool_calls import ToolCallDelta, ToolCalls
from service.generate.tool_format import ToolFormat


@dataclass(frozen=True, slots=True)
class ChatEvent:
    content: str
    reasoning: str
    tool_calls: tuple[ToolCallDelta, ...]
    finish_reason: str | None
    """OpenAI's word: "tool_calls" where the answer ends by itself and has called something."""


@dataclass(frozen=True, slots=True)
class ChatParsing:
    """What to look for in the answers of a request."""

    tool_format: ToolFormat | None = None
    tool_names: frozenset[str] = frozenset()
    reasoning: bool = False
    begins_thinking: bool = False


class ChatOutput:
    """One choice."""

    def __init__(self, parsing: ChatParsing, *, draw_id: Callable[[], str] = lambda: f"call_{token_hex(12)}") -> None:
        self._reasoning = Reasoning(begins_thinking=parsing.begins_thinking) if parsing.reasoning else None
        self._calls = None
        if parsing.tool_format is not None:
            self._calls = ToolCalls(parsing.tool_format, parsing.tool_names, draw_id)

    def push(self, event: TextEvent) -> ChatEvent:
        text, reasoning = event.text, ""
        deltas: list[ToolCallDelta] = []
        is_last = event.finish_reason is not None
        if self._reasoning is not None:
            reasoning, text = self._reasoning.push(text, is_last=is_last)
        if self._calls is not None:
            text, deltas = self._calls.push(text, is_last=is_last)
        return ChatEvent(text, reasoning, tuple(deltas), self._finish_reason(event.finish_reason))

    def _finish_reason(self, reason: FinishReason | None) -> str | None:
        if reason is None:
            return None
        has_called = self._calls is not None and self._calls.num_calls > 0
        return "tool_calls" if has_called and reason is FinishReason.STOP else reason.value
