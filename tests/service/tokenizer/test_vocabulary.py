from typing import Any

import pytest

from service.errors import ModelFileError
from service.tokenizer.vocabulary import TokenType, read_vocabulary

GOOD: dict[str, Any] = {
    "tokenizer.ggml.tokens": ["<|im_end|>", "a", "Ġb", "<0x0a>", "<u>", "<c>", ""],
    "tokenizer.ggml.token_type": [1, 1, 1, 6, 4, 3, 5],
    "tokenizer.ggml.bos_token_id": 5,
    "tokenizer.ggml.eos_token_id": 4,
    "tokenizer.ggml.eot_token_id": 1,
}


def test_tokens_and_special_ids() -> None:
    vocabulary = read_vocabulary(GOOD)
    assert len(vocabulary) == 7
    assert (vocabulary.bos_id, vocabulary.eos_id) == (5, 4)
    assert [vocabulary.token_bytes(token_id) for token_id in range(7)] == [
        b"<|im_end|>", b"a", b" b", b"\n", b"<u>", b"<c>", b"[EMPTY_6]",
    ]  # fmt: skip
    assert vocabulary.literals(special=False) == {"<u>": 4}
    assert vocabulary.literals(special=True) == {"<|im_end|>": 0, "<u>": 4, "<c>": 5}


def test_an_end_token_ends_and_is_control_whatever_its_type() -> None:
    vocabulary = read_vocabulary(GOOD)
    assert vocabulary.eos_ids == {0, 1, 4}
    assert vocabulary.types[0] == TokenType.CONTROL
    assert GOOD["tokenizer.ggml.token_type"][0] == TokenType.NORMAL  # the metadata is left as it was


def test_types_and_special_ids_may_be_absent() -> None:
    vocabulary = read_vocabulary({"tokenizer.ggml.tokens": ["a", "b"]})
    assert vocabulary.types == bytes([TokenType.NORMAL] * 2)
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.eos_ids) == (None, None, frozenset())


BAD: list[tuple[str, Any, str]] = [
    ("tokens", [], "the vocabulary has 0 tokens; 1 to"),
    ("tokens", ["a", "a", *"bcdef"], "of 7 tokens has only 6 different ones"),
    ("tokens", [1, 2], "an array of strings"),
    ("token_type", [1] * 6, "7 tokens but 6 token types"),
    ("token_type", [7] + [1] * 6, "a token of type 7; 0 to 6 are possible"),
    ("token_type", [6] + [1] * 6, "'<|im_end|>' has to be written like '<0x0A>'"),
    ("bos_token_id", 7, "'tokenizer.ggml.bos_token_id' is '7' (int); it has to be a whole number from 0 to 6"),
    ("eos_token_id", -1, "from 0 to 6"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_contradictions_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        read_vocabulary(GOOD | {f"tokenizer.ggml.{key}": value})
    assert message in str(caught.value)
