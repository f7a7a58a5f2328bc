"""The models that one process serves, with a team of threads that they share. Knows no engine and no face."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import ExitStack
from itertools import zip_longest
from types import TracebackType
from typing import Self

from kernels.errors import KernelsError
from kernels.runtime.team import Team
from service.errors import GemmuleError, SettingsError
from service.gemmule_model import GemmuleModel
from service.gguf.parts import model_name
from service.load_draft import load_alone
from service.loader import load_model, num_threads
from service.pull import resolve_model
from service.settings import Settings

log = logging.getLogger(__name__)


def load_models(settings: Settings) -> tuple[GemmuleModel, ...]:
    """In order, under the names that are served. One that cannot be loaded is reported and left out.

    Raises the first one's error where none can be.
    """
    if len(settings.models) == 1:
        return (_named(load_alone(settings, measures_peaks=True), settings.served_name),)
    errors: list[GemmuleError | KernelsError] = []
    loaded: dict[str, GemmuleModel] = {}
    with ExitStack() as opened:
        team = opened.enter_context(_Shared(Team(num_threads(settings))))
        for wanted, served_name in zip_longest(settings.models, settings.served_names):
            try:
                path = resolve_model(wanted, settings.cache)
                name = served_name or model_name(path)
                if name in loaded:
                    raise SettingsError(f"two models are called {name!r}; served_name tells them apart")
                model = load_model(
                    path,
                    settings,
                    measures_peaks=not loaded,
                    team=team.team,
                    num_models=len(settings.models),
                )
            except (GemmuleError, KernelsError) as error:
                log.error("the model %s is not served: %s", wanted, error)
                errors.append(error)
                continue
            opened.callback(model.close)
            loaded[name] = _named(model, name)
        if not loaded:
            raise errors[0]
        opened.pop_all()
    team.hand_over(len(loaded))
    return tuple(dataclasses.replace(model, on_close=team.release) for model in loaded.values())


def _named(model: GemmuleModel, name: str | None) -> GemmuleModel:
    return model if name is None else dataclasses.replace(model, name=name)


class _Shared:
    """A team that is closed with the last of its models."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self._num_users = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.team.close()

    def hand_over(self, num_users: int) -> None:
        self._num_users = num_users

    def release(self) -> None:
        self._num_users -= 1
        if self._num_users == 0:
            self.team.close()
