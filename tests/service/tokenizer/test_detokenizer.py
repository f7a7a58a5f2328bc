from hypothesis import given
from hypothesis import strategies as st

from service.tokenizer.detokenizer import Detokenizer
from service.tokenizer.tokenizer import Tokenizer
from tests.tiny_gguf import IM_END_ID, tiny_vocabulary


@given(text=st.text())
def test_pieces_of_a_text_are_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.push(token_id) for token_id in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces).replace(text, "")
    assert detokenizer.flush() == ""


@given(ids=st.lists(st.integers(0, len(tiny_vocabulary()) - 1)), skip_special=st.booleans())
def test_pieces_of_any_ids_are_what_decode_gives(tokenizer: Tokenizer, ids: list[int], skip_special: bool) -> None:
    detokenizer = Detokenizer(tokenizer, skip_special)
    pieces = [detokenizer.push(token_id) for token_id in ids]
    assert "".join(pieces) + detokenizer.flush() == tokenizer.decode(ids, skip_special)


def test_a_character_comes_with_its_last_byte(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    ids = tokenizer.encode("🧽!")
    assert [detokenizer.push(token_id) for token_id in ids] == ["", "", "", "🧽", "!"]


def test_an_open_character_is_flushed_as_a_replacement(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    sponge = tokenizer.encode("🧽")
    assert [detokenizer.push(token_id) for token_id in sponge[:2]] == ["", ""]
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.push(tokenizer.encode("a")[0]) == "a"


def test_special_tokens_are_shown_on_request(tokenizer: Tokenizer) -> None:
    assert Detokenizer(tokenizer).push(IM_END_ID) == ""
    assert Detokenizer(tokenizer, skip_special=False).push(IM_END_ID) == "<|im_end|>"
