"""A server a module over the tiny model; everything that it takes to talk to it is in tests.end_to_end.server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.server import Server, served


@pytest.fixture(scope="module")
def server(tiny_gguf_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two layers, a context of 4,096 tokens, up to 16 sequences, KV cache for all of them."""
    model = tiny_gguf_of(context=4096)
    flags = ("--max-batch", "16", "--threads", "2")
    with served(model, tmp_path_factory.mktemp("server"), *flags) as running:
        yield running
