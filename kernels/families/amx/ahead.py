"""Cache lines that the next stretch reads, asked for a few at a time. Knows no matrices.

In one piece they would hold up the loads between them: a core waits for a dozen lines at once, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.jit.ir import CACHE_LINE, I64, Function, Value


class Ahead:
    """From a place to an end, `lines` a step, into L2. beside: where else, in bytes from there, as many are read."""

    def __init__(self, f: Function, lines: Value, beside: Sequence[Value] = ()) -> None:
        self.f, self.lines, self.beside = f, lines, beside
        self._place, self._end = (f.variable(f["rhs"]) for _ in range(2))

    def aim(self, place: Value, num_bytes: Value) -> None:
        self._place.set(place)
        self._end.set(self.f.offset(place, num_bytes))

    def step(self) -> None:
        f, place = self.f, self._place.get()
        lines = f.select(f.compare("ult", place, self._end.get()), self.lines, f.const(I64, 0))
        with f.loop(0, lines) as line:
            here = f.offset(place, line * CACHE_LINE)
            for where in (here, *(f.offset(here, apart) for apart in self.beside)):
                f.prefetch(where, locality=2)
        self._place.set(f.offset(place, lines * CACHE_LINE))
