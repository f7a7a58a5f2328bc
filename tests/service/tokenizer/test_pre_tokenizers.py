import pytest
from tokenizers import pre_tokenizers

from service.tokenizer.pre_tokenizers import PRE_TOKENIZERS

TEXT = "It's 12345 DON'T\r\n\n  x=-1... Größe 漢字 ABCdef  \n y "

WORDS: dict[str, list[str]] = {
    "gpt-2": [
        "It", "'s", " 12345", " DON", "'", "T", "\r\n\n ", " x", "=-", "1", "...", " Größe", " 漢字", " ABCdef",
        "  \n", " y", " ",
    ],
    "smollm": [
        "It", "'s", " ", "1", "2", "3", "4", "5", " DON", "'", "T", "\r\n\n ", " x", "=-", "1", "...", " Größe",
        " 漢字", " ABCdef", "  \n", " y", " ",
    ],
    "llama-bpe": [
        "It", "'s", " ", "123", "45", " DON", "'T", "\r\n\n", " ", " x", "=-", "1", "...", " Größe", " 漢字", " ABCdef",
        "  \n", " y", " ",
    ],
    "qwen2": [
        "It", "'s", " ", "1", "2", "3", "4", "5", " DON", "'T", "\r\n\n", " ", " x", "=-", "1", "...", " Größe",
        " 漢字", " ABCdef", "  \n", " y", " ",
    ],
    "default": [
        "It", "'", "s", " ", "123", "45", " DON", "'", "T", "\r\n\n ", " x", "=-", "1", "...", " Größe",
        " 漢字", " ABCdef", "  \n", " y", " ",
    ],
    "falcon": [
        "It", "'", "s", " ", "123", "45", " DON", "'", "T", "\r\n\n ", " x", "=-", "1", "...", " Größe",
        " 漢字", " ABCdef", "  \n", " y", " ",
    ],
    "tekken": [
        "It", "'s", " ", "1", "2", "3", "4", "5", " DON", "'T", "\r\n\n", " ", " x", "=-", "1", "...", " Größe",
        " 漢字", " ABCdef", "  \n", " y", " ",
    ],
    "gpt-4o": [
        "It's", " ", "123", "45", " DON'T", "\r\n\n", " ", " x", "=-", "1", "...", " Größe", " 漢字", " ABCdef",
        "  \n", " y", " ",
    ],
    "deepseek-v3": [
        "It", "'s", " ", "123", "45", " DON", "'T", "\r\n\n", " ", " x", "=-", "1", "...", " Größe", " ", "漢字",
        " ABCdef", "  \n", " y", " ",
    ],
    "bloom": [
        "It's", " 12345", " DON'T", "\r\n\n ", " x=-1", "...", " Größe", " 漢字", " ABCdef", "  \n", " y", " ",
    ],
}  # fmt: skip


def cut(name: str, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in PRE_TOKENIZERS[name].build().pre_tokenize_str(text)]


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    assert cut(name, TEXT) == WORDS[name]


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_no_character_is_lost(name: str) -> None:
    text = TEXT + "\x00\x85\xa0\u2028\u3000👩‍👩‍👧ǅʰª½٣Ⅷ'ſ" + "e\u0301" * 3
    assert "".join(cut(name, text)) == text


def test_the_byte_level_cut_of_the_library_is_gpt2s() -> None:
    """Its own implementation of the pattern is an oracle for ours."""
    oracle = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    for text in (TEXT, "  a", "a\n\n\nb", "'s's 's", "\t\tx\u3000\u3000y", "re're'RE", " 1 2  3"):
        assert PRE_TOKENIZERS["gpt-2"].build().pre_tokenize_str(text) == oracle.pre_tokenize_str(text)


def test_a_hostile_text_is_cut_in_linear_time() -> None:
    one_name_each = {pre: name for name, pre in PRE_TOKENIZERS.items()}
    for name in one_name_each.values():
        for text in (" " * 20_000 + "x", "A" * 20_000, "\n \n" * 7_000, "1" * 20_000, "'" * 20_000, "字" * 20_000):
            assert len("".join(cut(name, text))) == len(text)
