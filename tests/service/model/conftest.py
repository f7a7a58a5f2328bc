"""Fixtures of the model tests: loaded tiny models, closed when the module's tests are done."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.settings import Settings


@pytest.fixture(scope="module")
def model_of(tiny_gguf_of: Callable[..., Path]) -> Iterator[Callable[..., GemmuleModel]]:
    """`model_of(threads=2, isa="scalar", weight_type="Q8_0")` -> such a model (arguments: write_tiny_gguf)."""
    loaded: dict[str, GemmuleModel] = {}

    def model_of(threads: int = 1, isa: str | None = None, kv_type: str = "f16", **arguments: Any) -> GemmuleModel:
        path = tiny_gguf_of(**arguments)
        key = f"{path} {threads} {isa} {kv_type}"
        if key not in loaded:
            settings = {"threads": threads, "isa": isa, "kv_type": kv_type, "max_batch": 256, "max_step_tokens": 256}
            loaded[key] = load_model(path, Settings.model_validate(settings))
        return loaded[key]

    yield model_of
    for model in loaded.values():
        model.close()
