"""Fixtures of the quality tests."""

from pathlib import Path

import pytest

from service.gguf.reader import open_gguf
from service.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture
def tokenizer_of_tiny(tiny_gguf: Path) -> Tokenizer:
    with open_gguf(tiny_gguf) as file:
        return load_tokenizer(file.metadata)
