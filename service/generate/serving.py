"""What the faces serve and whether they do: loading, ready, draining. Knows no route and no signal."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

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


class Serving:
    """Loading -> ready -> draining, one way, on the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._model: ServedModel | None = None
        self._phase = Phase.LOADING

    @property
    def phase(self) -> Phase:
        return self._phase

    def open(self, name: str, generator: Generator, max_context: int) -> None:
        assert self._phase is Phase.LOADING, self._phase
        self._model = ServedModel(name, generator, max_context, int(self._clock()))
        self._phase = Phase.READY

    def drain(self) -> None:
        self._phase = Phase.DRAINING

    def now_s(self) -> int:
        return int(self._clock())

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return () if self._model is None else (self._model,)

    def model(self, name: str | None) -> ServedModel:
        """The model that a request means; None stands for the one there is."""
        if self._phase is Phase.DRAINING:
            raise Draining("the server is shutting down and takes no new requests")
        if self._model is None:
            raise NotReady("the model is still being loaded; ask /health/ready")
        if name is not None and name != self._model.name:
            raise UnknownModel(
                f"no model is called {name[:100]!r}; this server has {self._model.name!r}", param="model"
            )
        return self._model
