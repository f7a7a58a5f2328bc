"""What the faces serve and whether they do: loading, ready, draining. Knows no route, no protocol and no signal."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from service.engine.client import EngineStats
from service.errors import Draining, NotReady, UnknownModel
from service.generate.generator import Generator


class Phase(Enum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    generator: Generator
    max_context: int
    """Tokens, prompt and output."""
    created_s: int
    """Unix time; OpenAI's `created`."""
    load: Callable[[], EngineStats]
    """How busy the engine is."""
    explain: Callable[[], Sequence[Any]]
    """What a step is made of, op by op: service.explain.ExplainedOp. Any thread may ask."""
    description: Sequence[str]
    """Lines for people: CPU, model, the micro-kernels of each op and why."""


class Serving:
    """Loading -> ready -> draining, one way, on the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.time, ask_to_stop: Callable[[], None] = lambda: None) -> None:
        """`ask_to_stop` begins what SIGTERM begins."""
        self._clock = clock
        self._started_s = clock()
        self._models: dict[str, ServedModel] = {}
        self._phase = Phase.LOADING
        self._changed = asyncio.Event()
        self.ask_to_stop = ask_to_stop

    @property
    def phase(self) -> Phase:
        return self._phase

    async def phase_after(self, phase: Phase) -> Phase:
        """The next phase, once it has begun."""
        while self._phase is phase:
            await self._changed.wait()
        return self._phase

    def open(
        self,
        name: str,
        generator: Generator,
        max_context: int,
        load: Callable[[], EngineStats],
        explain: Callable[[], Sequence[Any]] = tuple,
        description: Sequence[str] = (),
    ) -> None:
        """One more model; requests are taken from the first on."""
        assert self._phase is not Phase.DRAINING, self._phase
        assert name not in self._models, name
        self._models[name] = ServedModel(name, generator, max_context, self.now_s(), load, explain, description)
        self._enter(Phase.READY)

    def drain(self) -> None:
        self._enter(Phase.DRAINING)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @property
    def is_well(self) -> bool:
        """Whether the process is worth keeping: the engines of the loaded models come round."""
        return all(model.load().is_well for model in self.models)

    def now_s(self) -> int:
        return int(self._clock())

    @property
    def uptime_s(self) -> float:
        return self._clock() - self._started_s

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """In the order in which they were named."""
        return tuple(self._models.values())

    def model(self, name: str | None) -> ServedModel:
        """The model that a request for tokens means; None stands for the first. Refuses while draining."""
        if self._phase is Phase.DRAINING:
            raise Draining("the server is shutting down and takes no new requests")
        return self.described(name)

    def described(self, name: str | None) -> ServedModel:
        """The same for a question about it, which is answered to the end."""
        if not self._models:
            raise NotReady("the model is still being loaded; ask /health/ready")
        if name is None:
            return self.models[0]
        found = self._models.get(name)
        if found is None:
            here = ", ".join(map(repr, self._models))
            raise UnknownModel(f"no model is called {name[:100]!r}; this server has {here}", param="model")
        return found
