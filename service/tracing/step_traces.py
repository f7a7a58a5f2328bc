"""Traces the next steps of a running engine, one trace at a time. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from service.engine.observer import RequestTimings, StepTimings
from service.errors import BadRequest, NothingTraced, NotReady, TraceBusy
from service.tracing.chrome import chrome_trace

if TYPE_CHECKING:  # it brings numba
    from kernels.runtime.trace import Tracer

MAX_STEPS = 256
MAX_TIMEOUT_S = 60.0
LOOK_S = 0.005
"""How often it looks whether the steps have come."""
SPARE_STEPS = 8
"""Reports of steps before the first that is traced may still be on their way."""
SETTLE_S = 0.05
"""For the last step's report to reach the event loop."""


class TracedModel(Protocol):
    def tracer(self) -> Tracer: ...
    def op_shapes(self) -> Mapping[int, str]: ...
    def trace_labels(self) -> Mapping[str, str]: ...


class StepTraces:
    """An EngineObserver: between the native steps it keeps what the engine measured in Python."""

    def __init__(self, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._model: TracedModel | None = None
        self._timings: list[StepTimings] | None = None
        self._most = 0

    def open(self, model: TracedModel) -> None:
        self._model = model

    def on_step(self, step: StepTimings) -> None:
        if self._timings is not None and len(self._timings) < self._most:
            self._timings.append(step)

    def on_finish(self, request: RequestTimings) -> None:
        pass

    async def take(self, num_steps: int, timeout_s: float) -> dict[str, Any]:
        """The next steps, or as many of them as come in time, as a Chrome trace.

        Raises BadRequest, NotReady, TraceBusy, and NothingTraced if none came.
        """
        if not 1 <= num_steps <= MAX_STEPS:
            raise BadRequest(f"'steps' is {num_steps}; it has to be 1 to {MAX_STEPS}", param="steps")
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise BadRequest(
                f"'timeout_s' is {timeout_s}; it has to be above 0 and at most {MAX_TIMEOUT_S:.0f}", param="timeout_s"
            )
        if self._model is None:
            raise NotReady("the model is still being loaded; ask /health/ready")
        tracer = self._model.tracer()
        if self._timings is not None or tracer.is_busy:
            raise TraceBusy("another trace is being taken; one at a time")
        self._most = num_steps + SPARE_STEPS
        timings: list[StepTimings] = []
        self._timings = timings
        try:
            tracer.begin(num_steps)
            try:
                waited_s = 0.0
                while not tracer.is_done and waited_s < timeout_s:
                    await self._sleep(LOOK_S)
                    waited_s += LOOK_S
                await self._sleep(SETTLE_S)
            finally:
                trace = tracer.end()
        finally:
            self._timings = None
        if not trace.steps:
            raise NothingTraced(f"no step was computed within {timeout_s:g} s: trace while requests run")
        return await asyncio.to_thread(
            chrome_trace, trace, tuple(timings), self._model.op_shapes(), self._model.trace_labels()
        )
