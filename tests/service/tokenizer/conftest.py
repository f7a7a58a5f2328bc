from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from service.gguf.reader import open_gguf
from service.tokenizer.tokenizer import Tokenizer, load_tokenizer

EXTRA_TOKENS = (
    ("  ", gguf.TokenType.USER_DEFINED),
    ("    ", gguf.TokenType.USER_DEFINED),
    ("<think>", gguf.TokenType.USER_DEFINED),
    ("<unk>", gguf.TokenType.UNKNOWN),
    ("<|im_end|>x", gguf.TokenType.CONTROL),
    ("<0x0A>", gguf.TokenType.BYTE),
)
"""Follow the tiny vocabulary, from id 379 on."""


@pytest.fixture(scope="session")
def tokenizer(tiny_gguf: Path) -> Tokenizer:
    return load_tokenizer(open_gguf(tiny_gguf).metadata)


@pytest.fixture(scope="session")
def tokenizer_of(tiny_gguf_of: Callable[..., Path]) -> Callable[..., Tokenizer]:
    return lambda **arguments: load_tokenizer(open_gguf(tiny_gguf_of(**arguments)).metadata)


@pytest.fixture(scope="session")
def extended(tokenizer_of: Callable[..., Tokenizer]) -> Tokenizer:
    """With tokens of every type."""
    return tokenizer_of(extra_tokens=EXTRA_TOKENS)
