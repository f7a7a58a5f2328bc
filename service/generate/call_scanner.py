"""Reads one call of a tool, a JSON object, as its characters come. Knows no tags around it."""

import json
from dataclasses import dataclass, field

ARGUMENTS = ("arguments", "parameters")


class NoCall(Exception):
    """It is no such object after all."""


@dataclass(slots=True)
class CallScanner:
    """`push` returns how many characters belong to the object; `name` and new `arguments` can be taken in between."""

    name: str | None = None
    is_complete: bool = False
    _raw: str = ""
    _depth: int = 0
    _in_string: bool = False
    _is_escaped: bool = False
    _key: str | None = None
    """Of the value that is being read, at the object's own level."""
    _start: int = 0
    """Of that key or value."""
    _streams: bool = False
    """The value is the arguments, and written as an object."""
    _arguments: list[str] = field(default_factory=list)

    @property
    def raw(self) -> str:
        return self._raw

    def take_arguments(self) -> str:
        """What is new of them, once the name is known."""
        if self.name is None:
            return ""
        taken = "".join(self._arguments)
        self._arguments.clear()
        return taken

    def push(self, text: str) -> int:
        """Raises NoCall."""
        for index, char in enumerate(text):
            self._raw += char
            self._read(char)
            if self.is_complete:
                return index + 1
        return len(text)

    def _read(self, char: str) -> None:
        if self._depth == 0 and char != "{":
            raise NoCall
        if self._in_string:
            self._read_in_string(char)
        elif char == '"':
            self._in_string = True
            if self._depth == 1 and self._key is None:
                self._start = len(self._raw) - 1
        elif char in "{[":
            self._depth += 1
            if self._depth == 2 and self._key in ARGUMENTS and not self._value_before():
                self._streams = True
        elif char in "}]":
            self._depth -= 1
            if self._depth == 0:
                self._end_value()
                if self.name is None:
                    raise NoCall
                self.is_complete = True
                return
        elif self._depth == 1 and char == ":" and self._key is None:
            self._key = self._decoded(self._raw[self._start : -1].strip())
            self._start = len(self._raw)
            return
        elif self._depth == 1 and char == ",":
            self._end_value()
            return
        if self._streams:
            self._arguments.append(char)
            if self._depth == 1 and char in "}]" and not self._in_string:
                self._streams = False

    def _read_in_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\":
            self._is_escaped = True
        elif char == '"':
            self._in_string = False

    def _value_before(self) -> str:
        """What of the value stands before the character that was read last."""
        return self._raw[self._start : -1].strip()

    def _end_value(self) -> None:
        """At the comma or the brace behind it."""
        if self._key == "name":
            self.name = self._decoded(self._value_before())
        elif self._key in ARGUMENTS and not self._value_before().startswith(("{", "[")):
            value = self._value_before()
            # Some models write the arguments as JSON within a string.
            self._arguments.append(self._decoded(value) if value.startswith('"') else value)
        self._key = None

    def _decoded(self, value: str) -> str:
        try:
            text = json.loads(value)
        except ValueError:
            raise NoCall from None
        if not isinstance(text, str):
            raise NoCall
        return text
