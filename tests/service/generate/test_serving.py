"""What is served: one model or several, found by name."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Draining, NotReady, UnknownModel
from service.generate.serving import Phase, Serving

GENERATOR: Any = None


class Load:
    def __init__(self, is_well: bool = True) -> None:
        self.is_well = is_well


def serving_of(*names: str, ill: str = "") -> Serving:
    serving = Serving()
    for name in names:
        serving.open(name, GENERATOR, 8, lambda name=name: Load(name != ill))  # type: ignore[arg-type,misc]
    return serving


def test_before_and_after() -> None:
    serving = serving_of()
    assert serving.phase is Phase.LOADING
    assert serving.models == ()
    with pytest.raises(NotReady):
        serving.model(None)
    serving = serving_of("a")
    assert serving.phase is Phase.READY
    serving.drain()
    with pytest.raises(Draining):
        serving.model("a")
    assert serving.described("a").name == "a"


def test_the_name_chooses_and_the_first_is_meant_without_one() -> None:
    serving = serving_of("a", "b")
    assert [model.name for model in serving.models] == ["a", "b"]
    assert serving.model("b").name == "b"
    assert serving.model(None).name == "a"
    with pytest.raises(UnknownModel, match="no model is called 'c'; this server has 'a', 'b'"):
        serving.model("c")


def test_all_engines_have_to_be_well() -> None:
    assert serving_of("a", "b").is_well
    assert not serving_of("a", "b", ill="b").is_well
