"""Finds the first stop string in a growing text and lets nothing of it out. Knows no tokens."""

from collections.abc import Iterable


class StopStrings:
    """Pieces of text in, pieces of text out that can no longer be the beginning of a stop string.

    The match is the one that is complete first, and the longest of those: it does not depend on how the text was cut.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._prefixes = [_Prefix(stop) for stop in stops]
        self._held = ""
        self.has_matched = False
        """From then on the rest of the text is dropped."""

    def push(self, text: str) -> str:
        if not self._prefixes:
            return text
        if self.has_matched:
            return ""
        known = len(self._held)
        pending = self._held + text
        for index, char in enumerate(text, start=known):
            num_matched = 0
            for prefix in self._prefixes:
                if prefix.push(char):
                    num_matched = max(num_matched, prefix.length)
            if num_matched:
                self.has_matched = True
                self._held = ""
                return pending[: index + 1 - num_matched]
        num_held = max(prefix.length for prefix in self._prefixes)
        cut = len(pending) - num_held
        self._held = pending[cut:]
        return pending[:cut]

    def flush(self) -> str:
        """The text has ended: what was held back is no stop string after all."""
        held, self._held = self._held, ""
        return held


class _Prefix:
    """The longest prefix of one stop string that the text ends with (Knuth, Morris, Pratt 1977)."""

    __slots__ = ("_borders", "_stop", "length")

    def __init__(self, stop: str) -> None:
        assert stop, "a stop string is not empty"
        self._stop = stop
        self.length = 0
        # borders[n]: length of the longest proper prefix of stop[:n] that stop[:n] ends with.
        self._borders = [0, 0]
        for char in stop[1:]:
            self._borders.append(self._extend(self._borders[-1], char))

    def push(self, char: str) -> bool:
        """Whether the text now ends with the whole stop string. Nothing may be pushed after that."""
        self.length = self._extend(self.length, char)
        return self.length == len(self._stop)

    def _extend(self, length: int, char: str) -> int:
        while length and self._stop[length] != char:
            length = self._borders[length]
        return length + (self._stop[length] == char)
