import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest, ModelFileError
from service.tokenizer.tokenizer import Tokenizer, load_tokenizer
from tests.tiny_gguf import ENDOFTEXT_ID, IM_END_ID, IM_START_ID, byte_letters, learned_merges, tiny_vocabulary

METADATA: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": tiny_vocabulary(),
    "tokenizer.ggml.merges": [" ".join(pair) for pair in learned_merges()],
}

# What llama.cpp makes of these texts with the same files: (text, ids, ids with special tokens parsed).
TINY: list[tuple[str, list[int], list[int] | None]] = [
    ("", [], None),
    ("the water", [305, 104, 318], None),
    ("Once upon a time", [324, 311, 269, 261, 316], None),
    (" a  b   c", [261, 35, 35, 101, 35, 35, 35, 102], None),
    ("it's THE'LL 'tis", [273, 42, 118, 35, 87, 75, 72, 42, 79, 79, 35, 42, 119, 348], None),
    ("x\n\n y\t z \n", [123, 13, 13, 35, 124, 12, 35, 125, 35, 13], None),
    ("12345 1a2", [52, 53, 54, 55, 56, 35, 52, 100, 53], None),
    ("Größe 漢", [74, 117, 198, 185, 198, 162, 104, 35, 233, 191, 165], None),
    (
        "<|im_start|>user\nhi<|im_end|>",
        [63, 127, 281, 98, 118, 119, 100, 117, 119, 127, 65, 120, 118, 266, 13, 107, 108, 63, 127, 281, 98, 104, 113,
         103, 127, 65],
        [1, 120, 118, 266, 13, 107, 108, 2],
    ),
    ("<|im_end|", [63, 127, 281, 98, 104, 113, 103, 127], None),
    ("a\x00b\x7f\u00a0\u3000c", [100, 3, 101, 130, 197, 163, 230, 131, 131, 102], None),
]  # fmt: skip
EXTENDED: list[tuple[str, list[int], list[int]]] = [
    (" a  b   c", [261, 379, 101, 379, 35, 102], [261, 379, 101, 379, 35, 102]),
    (
        "<think>  no    way     </think><unk><|im_end|>xy",
        [381, 379, 113, 114, 380, 122, 100, 124, 380, 35, 63, 50, 305, 350, 65, 63, 120, 113, 110, 65, 63, 127, 281, 98,
         104, 113, 103, 127, 65, 123, 124],
        [381, 379, 113, 114, 380, 122, 100, 124, 380, 35, 63, 50, 305, 350, 65, 382, 383, 124],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ids", "parsed"), TINY)
def test_ids_are_llama_cpps(tokenizer: Tokenizer, text: str, ids: list[int], parsed: list[int] | None) -> None:
    assert tokenizer.encode(text) == ids
    assert tokenizer.encode(text, parse_special=True) == (ids if parsed is None else parsed)


@pytest.mark.parametrize(("text", "ids", "parsed"), EXTENDED)
def test_ids_of_other_token_types_are_llama_cpps(
    extended: Tokenizer, text: str, ids: list[int], parsed: list[int]
) -> None:
    assert extended.encode(text) == ids
    assert extended.encode(text, parse_special=True) == parsed


@given(text=st.text())
def test_text_survives_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(
    text=st.lists(st.one_of(st.text(), st.sampled_from(["  ", "<think>", "<|im_end|>", "<unk>", "\n"]))).map("".join)
)
def test_text_with_special_tokens_survives_the_round_trip(extended: Tokenizer, text: str) -> None:
    assert extended.decode(extended.encode(text, parse_special=True), skip_special=False) == text
    assert extended.decode(extended.encode(text)) == text


@given(
    text=st.lists(st.one_of(st.text(max_size=3), st.sampled_from(["<|im_end|>", "<|im_start|>", "<", "|>"]))).map(
        "".join
    )
)
def test_without_parse_special_no_text_becomes_a_special_token(tokenizer: Tokenizer, text: str) -> None:
    assert not {ENDOFTEXT_ID, IM_START_ID, IM_END_ID} & set(tokenizer.encode(text))


@given(ids=st.lists(st.integers(0, len(tiny_vocabulary()) - 1)))
def test_decode_is_the_bytes_of_the_tokens(tokenizer: Tokenizer, ids: list[int]) -> None:
    raw = b"".join(tokenizer.token_bytes(token_id) for token_id in ids)
    assert tokenizer.decode(ids, skip_special=False) == raw.decode(errors="replace")
    shown = [token_id for token_id in ids if token_id > IM_END_ID]
    assert tokenizer.decode(ids) == tokenizer.decode(shown)


def test_a_special_word_is_not_taken_by_ignore_merges() -> None:
    """llama-bpe takes a word that is a token as a whole; a control token is never meant by it."""
    tokens = [*tiny_vocabulary(), "stop"]
    types = [3, 3, 3] + [1] * (len(tokens) - 4) + [3]
    metadata = METADATA | {
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
    }
    tokenizer = load_tokenizer(metadata)
    assert len(tokens) - 1 not in tokenizer.encode("stop")
    assert tokenizer.encode("stop", parse_special=True) == [len(tokens) - 1]
    assert load_tokenizer(metadata | {"tokenizer.ggml.token_type": [1] * len(tokens)}).encode("stop") == [379]


def test_a_byte_without_a_token_is_dropped_but_separates() -> None:
    """SmolLM2's vocabulary lacks 21 bytes: "w\\x04a" must not become the token "wa" (as in llama.cpp)."""
    tokens = [token for token in tiny_vocabulary() if token != byte_letters()[4]]
    tokenizer = load_tokenizer(METADATA | {"tokenizer.ggml.tokens": tokens})
    assert tokenizer.decode(tokenizer.encode("!\x04! the\x04")) == "!! the"
    assert [tokenizer.token_bytes(token_id) for token_id in tokenizer.encode("th\x04e")] == [b"th", b"e"]


def test_ids_without_a_type_list() -> None:
    assert load_tokenizer(METADATA).encode("the water") == [305, 104, 318]


def test_begin_and_end_tokens(tokenizer_of: Callable[..., Tokenizer]) -> None:
    tokenizer = tokenizer_of(add_bos=True, add_eos=True)
    assert tokenizer.encode("") == [IM_START_ID, IM_END_ID]
    assert tokenizer.encode("the") == [IM_START_ID, *tokenizer.encode("the", add_special=False), IM_END_ID]


def test_the_pre_tokenizer_says_whether_a_begin_token_is_usual(tokenizer_of: Callable[..., Tokenizer]) -> None:
    bos = {"tokenizer.ggml.bos_token_id": 1}
    assert load_tokenizer(METADATA | bos | {"tokenizer.ggml.pre": "llama-bpe"}).add_bos
    assert not load_tokenizer(METADATA | {"tokenizer.ggml.pre": "llama-bpe"}).add_bos
    assert not load_tokenizer(METADATA | bos).add_bos
    assert not tokenizer_of(pre="llama-bpe", add_bos=False).add_bos


def test_properties(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 379
    assert (tokenizer.bos_id, tokenizer.eos_id) == (IM_START_ID, IM_END_ID)
    assert tokenizer.eos_ids == {ENDOFTEXT_ID, IM_END_ID}


def test_a_lone_surrogate_is_a_bad_request(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadRequest, match=r"lone surrogate \(U\+D800\) at character 2"):
        tokenizer.encode("ab\ud800c")


def test_a_text_that_the_pattern_library_would_panic_on_is_a_bad_request(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadRequest, match="the text has 4000001 characters; at most 4000000"):
        tokenizer.encode(" " * 4_000_001)


def test_a_long_text_is_encoded_in_bounded_time(tokenizer: Tokenizer) -> None:
    for text in ("x" * 200_000, " " * 200_000, "<|im_end|>" * 20_000, "the water " * 20_000):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_threads_share_a_tokenizer(tokenizer: Tokenizer) -> None:
    expected = tokenizer.encode("Once upon a time there was a small sponge")
    results: list[bool] = []

    def encode() -> None:
        same = (tokenizer.encode("Once upon a time there was a small sponge") == expected for _ in range(200))
        results.append(all(same))

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tokenizer.ggml.model": "bert"}, "tokenizer model 'bert' is not supported; supported are: gpt2"),
    ({"tokenizer.ggml.model": "llama"}, "'tokenizer.ggml.scores' is missing"),
    ({"tokenizer.ggml.model": 3}, "it has to be a string"),
    ({"tokenizer.ggml.pre": "klingon"}, "pre-tokenizer 'klingon' is not supported; supported are: a.x-4.0, bailingmoe"),
    ({"tokenizer.ggml.merges": ["a b", "ab"]}, "merge 1 is 'ab'; it has to be two tokens with a space between"),
    ({"tokenizer.ggml.merges": [" a"]}, "merge 0 is ' a'"),
    ({"tokenizer.ggml.merges": ["Q Z"]}, "the merges do not fit the vocabulary"),
    ({"tokenizer.ggml.add_bos_token": True}, "add_bos_token is true but there is no bos_token_id"),
    ({"tokenizer.ggml.add_eos_token": True}, "add_eos_token is true but there is no eos_token_id"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_metadata_is_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_tokenizer(METADATA | changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ModelFileError, match=f"the metadata key '{key}' is missing"):
        load_tokenizer({name: value for name, value in METADATA.items() if name != key})
