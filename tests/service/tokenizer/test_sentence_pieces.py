"""SentencePiece from metadata: scores, byte fallback, the space before a text, special tokens, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ModelFileError
from service.tokenizer.detokenizer import Detokenizer
from service.tokenizer.tokenizer import LITERAL_MARK, Tokenizer, load_tokenizer

WORDS = ["▁", "t", "h", "e", "th", "the", "▁the", "▁t", "he", "▁▁", "ü", "s", "<", ">", "<s", "\n\n"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TOKENS = ["<unk>", "<s>", "</s>", *BYTES, *WORDS, "<end_of_turn>"]
TYPES = [2, 3, 3, *[6] * 256, *[1] * (len(WORDS) - 1), 4, 1]
METADATA: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": TYPES,
    "tokenizer.ggml.scores": [0.0] * 259 + [-float(index) for index in range(len(WORDS))] + [0.0],
}
ID = {token: index for index, token in enumerate(TOKENS)}


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return load_tokenizer(METADATA)


def names(tokenizer: Tokenizer, text: str, **options: bool) -> list[str]:
    return [TOKENS[token_id] for token_id in tokenizer.encode(text, **options)]


def test_defaults(pieces: Tokenizer) -> None:
    """Begin token 1 and a space before the text, where the file says nothing; the end token is 2."""
    assert names(pieces, "the the") == ["<s>", "▁the", "▁the"]
    assert names(pieces, "the", add_special=False) == ["▁the"]
    assert names(pieces, "") == ["<s>"]
    assert pieces.eos_ids == {ID["</s>"], ID["<end_of_turn>"]}


def test_without_the_space_and_the_begin() -> None:
    metadata = METADATA | {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False}
    assert names(load_tokenizer(metadata), "the the") == ["the", "▁the"]


def test_best_score_first(pieces: Tokenizer) -> None:
    """ "th" (-4) before "he" (-8): the rule that gives "ths" two tokens."""
    assert names(pieces, "ths", add_special=False) == ["▁", "th", "s"]


def test_bytes(pieces: Tokenizer) -> None:
    assert names(pieces, "ü漢", add_special=False) == ["▁", "ü", "<0xE6>", "<0xBC>", "<0xA2>"]
    assert pieces.decode(pieces.encode("ü漢\x00\t")) == "ü漢\x00\t"


def test_special_tokens(pieces: Tokenizer) -> None:
    """Parsed on request only; a space goes before what follows one, and user-defined tokens are always found."""
    assert names(pieces, "<s>the</s>the", add_special=False, parse_special=True) == ["<s>", "▁the", "</s>", "▁the"]
    assert ID["<s>"] not in pieces.encode("<s>the</s>", add_special=False)
    assert names(pieces, "the\n\nthe", add_special=False) == ["▁the", "\n\n", "▁the"]
    literal = f"<{LITERAL_MARK}s>"
    assert ID["<s>"] not in pieces.encode(literal, add_special=False, parse_special=True)


@given(text=st.text().filter(lambda text: "\n\n" not in text))
def test_round_trip(pieces: Tokenizer, text: str) -> None:
    """Of ordinary tokens: after a user-defined one stands a space more, as in llama.cpp."""
    assert pieces.decode(pieces.encode(text), skip_special=True) == text.replace("▁", " ")


@given(text=st.text(alphabet="the ü漢\n<s>/", max_size=30))
def test_pieces_of_the_stream(pieces: Tokenizer, text: str) -> None:
    """All that is generated, with the space that a model writes before a word."""
    stream, ids = Detokenizer(pieces), pieces.encode(text, add_special=False)
    shown = "".join([*map(stream.push, ids), stream.flush()])
    assert shown.removeprefix(" ") == pieces.decode(ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.scores": [0.0]}, "but 1 scores"),
        ({"tokenizer.ggml.scores": [float("nan")] * len(TOKENS)}, "the score of token 0 is not finite"),
        ({"tokenizer.ggml.scores": [1] * len(TOKENS)}, "it has to be an array of numbers"),
        ({"tokenizer.ggml.model": "bert"}, r"supported are: gpt2 \(byte-level BPE\), llama \(SentencePiece\)"),
        ({"tokenizer.ggml.token_type": [6, *TYPES[1:]]}, "the byte token '<unk>'"),
        ({"tokenizer.ggml.add_space_prefix": 1}, "it has to be a boolean"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as refused:
        load_tokenizer(METADATA | changes)
    assert "\n" not in str(refused.value)
