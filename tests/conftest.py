"""Fixtures that every test may use: tiny models, written once a session for each set of arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.tiny_gguf import write_tiny_gguf

# A busy machine is no failure.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def tiny_gguf_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_gguf_of(weight_type="Q8_0", tied=False)` -> the path of such a model (arguments: write_tiny_gguf)."""
    folder = tmp_path_factory.mktemp("tiny_gguf")
    written: dict[str, Path] = {}

    def tiny_gguf_of(**arguments: Any) -> Path:
        key = repr(sorted(arguments.items()))
        if key not in written:
            written[key] = write_tiny_gguf(folder / f"tiny-{len(written)}.gguf", **arguments)
        return written[key]

    return tiny_gguf_of


@pytest.fixture(scope="session")
def tiny_gguf(tiny_gguf_of: Callable[..., Path]) -> Path:
    """The default tiny model: Q4_0, two layers, tied output."""
    return tiny_gguf_of()
