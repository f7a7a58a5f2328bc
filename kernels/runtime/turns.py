"""Who may use the team: one at a time, in the order of asking. Knows no step."""

import threading
from collections import deque
from types import TracebackType


class Turns:
    """A lock that is handed on: who gives it back and asks again stands behind everybody who waits.

    `threading.Lock` lets the one who has just released it take it again: a model under load would starve the others.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
