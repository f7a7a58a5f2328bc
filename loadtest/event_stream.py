"""Bytes of a server-sent event stream -> the JSON of its events. Knows no meaning of an event."""

import json
from collections.abc import Iterator
from typing import Any

from loadtest.errors import RequestFailed

DONE = b"[DONE]"


class EventReader:
    """Feed it what the network gives, in any pieces. `is_done` after OpenAI's last event."""

    def __init__(self) -> None:
        self._rest = b""
        self.is_done = False

    def feed(self, piece: bytes) -> Iterator[Any]:
        """The decoded events that `piece` completes. Raises RequestFailed on what is no event stream."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == DONE:
                    self.is_done = True
                else:
                    yield _decoded(data)
            elif line.startswith(b"error:"):  # llama-server's own
                raise RequestFailed("error event", line[6:].strip().decode(errors="replace"))


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise RequestFailed("bad event", data[:80].decode(errors="replace")) from None
