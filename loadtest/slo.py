"""Objectives: of a request (goodput) and of a run (the exit code). Knows no statistics."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from loadtest.errors import LoadtestError
from loadtest.record import Record

OF_REQUEST: Mapping[str, Callable[[Record], float | None]] = {
    "ttft": lambda record: record.ttft_s,
    "tpot": lambda record: record.tpot_s,
    "e2el": lambda record: record.e2e_s,
}
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_OBJECTIVE = re.compile(r"\s*([A-Za-z]\w*(?:\.\w+)?)\s*(<=|>=|<|>)\s*([0-9.eE+-]+)\s*")


class BadObjective(LoadtestError):
    """An objective that cannot be read."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """A request is good when it keeps every limit, in ms; one without a second token keeps any tpot."""

    limits_ms: Mapping[str, float]

    @classmethod
    def parse(cls, words: Iterable[str]) -> Self:
        """["ttft:200", "tpot:50"], as `vllm bench serve --goodput` has it."""
        limits = {}
        for word in words:
            name, _, limit = word.partition(":")
            try:
                limits[name] = float(limit)
            except ValueError:
                limits[name] = -1.0
            if name not in OF_REQUEST or limits[name] < 0:
                raise BadObjective(f"goodput wants {', '.join(OF_REQUEST)} with ms, like ttft:200; not {word!r}")
        return cls(limits)

    def is_met(self, record: Record) -> bool:
        for name, limit_ms in self.limits_ms.items():
            value_s = OF_REQUEST[name](record)
            if value_s is not None and value_s * 1e3 > limit_ms:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on one figure of a run: p99_ttft_ms<=500."""

    key: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Self:
        found = _OBJECTIVE.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            return cls(found[1], found[2], float(found[3]))
        except ValueError:
            raise BadObjective(f"an objective is like p99_ttft_ms<=500, not {text!r}") from None

    def miss(self, summary: Mapping[str, Any]) -> str | None:
        """Why it is missed, in a line; None when it is met. A figure that no request gave is missed."""
        if self.key not in summary:
            raise BadObjective(f"no figure {self.key}; there are {', '.join(key for key in summary)}")
        value = summary[self.key]
        if isinstance(value, int | float) and COMPARE[self.sign](value, self.bound):
            return None
        shown = f"{value:.4g}" if isinstance(value, int | float) else "none"
        return f"{self.key} is {shown}, not {self.sign} {self.bound:g}"
