"""Splits a growing answer into what is said and what is called. Knows no shape of a response."""

from collections.abc import Callable
from dataclasses import dataclass

from service.generate.call_scanner import CallScanner, NoCall
from service.generate.tool_format import ToolFormat


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """News of one call; the first of a call has its id and name."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class ToolCalls:
    def __init__(self, tool_format: ToolFormat, names: frozenset[str], draw_id: Callable[[], str]) -> None:
        """`names`: of the tools that there are; `draw_id` makes the id of a call."""
        self._begin = tool_format.begin.strip()
        self._end = tool_format.end.strip()
        self._names = names
        self._draw_id = draw_id
        self._buffer = ""
        self._scanner: CallScanner | None = None
        self._has_said = False
        self._is_named = False
        self._has_arguments = False
        self._is_behind_a_call = False
        """And nothing has been said since."""
        self.num_calls = 0

    def push(self, text: str, *, is_last: bool = False) -> tuple[str, list[ToolCallDelta]]:
        """What can be said by now, and what is new of calls."""
        self._buffer += text
        said: list[str] = []
        deltas: list[ToolCallDelta] = []
        while self._step(said, deltas):
            pass
        if is_last:
            if self._scanner is not None and not self._is_named:
                said.append(self._given_up())
            # White space around calls is theirs, and so is their last tag.
            rest, self._buffer = self._buffer, ""
            if self._is_behind_a_call:
                rest = rest.lstrip().removeprefix(self._end)
            said.append(rest if rest.strip() or not self.num_calls else "")
        content = "".join(said)
        self._has_said = self._has_said or bool(content.strip())
        return content, deltas

    def _step(self, said: list[str], deltas: list[ToolCallDelta]) -> bool:
        """Whether the buffer may hold more to do."""
        if self._scanner is None:
            return self._look_for_a_call(said)
        num_read = len(self._scanner.raw)
        try:
            used = self._scanner.push(self._buffer)
        except NoCall:
            self._buffer = self._buffer[len(self._scanner.raw) - num_read :]
            said.append(self._given_up())
            return True
        self._buffer = self._buffer[used:]
        if not self._is_named and self._scanner.name is not None:
            if not self._begin and self._scanner.name not in self._names:
                said.append(self._given_up())  # a JSON object that the answer begins with, but no call
                return True
            self._is_named = True
            self._has_arguments = False
            deltas.append(ToolCallDelta(self.num_calls, self._draw_id(), self._scanner.name, ""))
            self.num_calls += 1
        arguments = self._scanner.take_arguments() if self._is_named else ""
        if self._scanner.is_complete and not (arguments or self._has_arguments):
            arguments = "{}"
        if arguments:
            self._has_arguments = True
            deltas.append(ToolCallDelta(self.num_calls - 1, None, None, arguments))
        if not self._scanner.is_complete:
            return False
        self._scanner, self._is_named = None, False
        self._is_behind_a_call = True
        return True

    def _given_up(self) -> str:
        """What the scanner has read, as text: unless some of it has gone out as a call already."""
        assert self._scanner is not None
        raw = "" if self._is_named else self._begin + self._scanner.raw
        self._scanner, self._is_named = None, False
        self._has_said = True
        return raw

    def _look_for_a_call(self, said: list[str]) -> bool:
        if self._begin:
            return self._look_for_the_tag(said)
        rest = self._buffer.lstrip(" \n\t;,[]" if self.num_calls else " \n\t[")
        if self._has_said or (rest and rest[0] != "{"):
            said.append(self._buffer)
            self._has_said = True
            self._buffer = ""
            return False
        if not rest:
            return False
        self._buffer = rest
        self._scanner = CallScanner()
        return True

    def _look_for_the_tag(self, said: list[str]) -> bool:
        buffer = self._buffer
        if self._is_behind_a_call:
            buffer = buffer.lstrip()
            if buffer.startswith(self._end):
                buffer = buffer[len(self._end) :].lstrip()
        place = buffer.find(self._begin)
        if place >= 0:
            after = buffer[place + len(self._begin) :].lstrip()
            if not after:
                self._buffer = buffer
                return False
            said.append(buffer[:place].rstrip())
            self._buffer = after
            self._scanner = CallScanner()
            return True
        num_held = _held(buffer, (self._begin, self._end) if self._is_behind_a_call else (self._begin,))
        said.append(buffer[: len(buffer) - num_held])
        self._is_behind_a_call = self._is_behind_a_call and num_held == len(buffer)
        self._buffer = buffer[len(buffer) - num_held :]
        return False


def _held(text: str, markers: tuple[str, ...]) -> int:
    """Characters at the end that may be white space before a marker, and its beginning."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), 0, -1):
            if text.endswith(marker[:length]):
                longest = max(longest, length)
                break
    head = text[: len(text) - longest]
    return longest + len(head) - len(head.rstrip())
