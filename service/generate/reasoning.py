"""Splits a growing answer into thoughts, between <think> tags, and the rest. Knows no tools."""

BEGIN = "<think>"
END = "</think>"


class Reasoning:
    def __init__(self, *, begins_thinking: bool) -> None:
        """`begins_thinking`: the prompt has opened the tag already."""
        self._is_thinking = begins_thinking
        self._is_open = not begins_thinking
        """The answer may still begin with the tag."""
        self._buffer = ""
        self._trims = True

    def push(self, text: str, *, is_last: bool = False) -> tuple[str, str]:
        """(thoughts, the rest) that are new."""
        self._buffer += text
        thoughts = ""
        if self._is_open:
            start = self._buffer.lstrip()
            if not is_last and len(start) < len(BEGIN) and BEGIN.startswith(start):
                return "", ""
            self._is_open = False
            if start.startswith(BEGIN):
                self._is_thinking = True
                self._buffer = start[len(BEGIN) :]
            else:
                self._trims = False
        if self._is_thinking:
            place = self._buffer.find(END)
            if place < 0:
                num_held = 0 if is_last else _held(self._buffer)
                cut = len(self._buffer) - num_held
                thoughts, self._buffer = self._buffer[:cut], self._buffer[cut:]
                return thoughts, ""
            thoughts, self._buffer = self._buffer[:place], self._buffer[place + len(END) :]
            self._is_thinking = False
        rest, self._buffer = self._buffer, ""
        if self._trims:
            # The answer does not begin with the empty lines behind the thoughts.
            rest = rest.lstrip("\n")
            self._trims = not rest
        return thoughts, rest


def _held(text: str) -> int:
    """Characters at the end that may begin the closing tag."""
    return next((length for length in range(len(END) - 1, 0, -1) if text.endswith(END[:length])), 0)
