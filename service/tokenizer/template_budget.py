"""What one run of a template may cost: units of work and size, and time. Knows no syntax."""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2.utils import Namespace


class TooExpensiveError(Exception):
    """The template asked for more than its budget. The message says which limit."""


class Budget:
    """A unit is a loop turn, an element or a character. It is spent before a thing is made, or right afterwards."""

    __slots__ = ("_clock", "_deadline", "_time_limit_s", "_unit_limit", "_units")

    def __init__(self, unit_limit: int, time_limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._unit_limit = self._units = unit_limit
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._deadline = clock() + time_limit_s

    def spend(self, units: int) -> None:
        self._units -= units
        if self._units < 0:
            raise TooExpensiveError(f"it needs more than {self._unit_limit} units of work")
        if self._clock() > self._deadline:
            raise TooExpensiveError(f"it needs more than {self._time_limit_s:g} s")

    def spend_on(self, *values: Any) -> int:
        """Spends the size of values as they would be printed; returns it."""
        units = sum(tree_size(value, self._units) for value in values)
        self.spend(units)
        return units


current_budget: ContextVar[Budget] = ContextVar("current_budget")
"""The budget of the run that this thread is in."""


def tree_size(value: Any, limit: int) -> int:
    """Characters and elements of a value, where [x, x] counts x twice. Stops counting beyond `limit`."""
    size = 0
    rest = [value]
    while rest and size <= limit:
        item = rest.pop()
        size += 1
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, int):
            size += item.bit_length() >> 2
        elif isinstance(item, Namespace):
            rest.append(item._Namespace__attrs)
        elif isinstance(item, Mapping):
            rest.extend(item.keys())
            rest.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            rest.extend(item)
    return size
