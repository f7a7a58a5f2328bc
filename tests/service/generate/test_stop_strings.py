from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.generate.stop_strings import StopStrings

# Two letters make near misses and overlaps likely.
TEXTS = st.text(alphabet="ab", max_size=40) | st.text(alphabet="abé😀", max_size=30)
STOPS = st.lists(
    st.text(alphabet="ab", min_size=1, max_size=6) | st.text(alphabet="abé😀", min_size=1, max_size=3), max_size=4
)


def cut_by_find(text: str, stops: list[str]) -> str:
    """The definition: of all occurrences the one which is complete first, the longest of those."""
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return text[: min(found)[1]] if found else text


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(borders)]


@given(text=TEXTS, stops=STOPS, cuts=st.lists(st.integers(0, 1000), max_size=12))
@example(text="abab", stops=["abab", "ba"], cuts=[])
@example(text="bab", stops=["b", "ab", "bab"], cuts=[])
@example(text="aab", stops=["b", "ab"], cuts=[1])
@example(text="aabaabaaab", stops=["aabaaa"], cuts=[1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_any_cutting_of_the_text_gives_what_str_find_gives(text: str, stops: list[str], cuts: list[int]) -> None:
    expected = cut_by_find(text, stops)
    matcher = StopStrings(stops)
    out = ""
    seen = ""
    for piece in pieces_of(text, cuts):
        seen += piece
        out += matcher.push(piece)
        assert expected.startswith(out), "a part of a stop string has leaked"
        if not matcher.has_matched:
            # Nothing is held longer than it must be: what is held begins a stop string.
            held = seen[len(out) :]
            assert not held or any(stop.startswith(held) for stop in stops)
    assert matcher.has_matched == (expected != text)
    assert out + matcher.flush() == expected


def test_nothing_comes_out_after_a_match() -> None:
    matcher = StopStrings(["END"])
    assert matcher.push("one EN") == "one "
    assert matcher.push("D two") == ""
    assert matcher.push(" three") == ""
    assert matcher.flush() == ""


def test_a_near_miss_is_let_go() -> None:
    matcher = StopStrings(["END"])
    assert matcher.push("EN") == ""
    assert matcher.push("E") == "EN"
    assert matcher.push("X") == "EX"


def test_without_stop_strings_nothing_is_held() -> None:
    assert StopStrings([]).push("anything") == "anything"


def test_a_stop_string_of_no_characters_is_a_programmer_error() -> None:
    with pytest.raises(AssertionError):
        StopStrings([""])


def test_the_work_is_linear_in_the_text() -> None:
    """The worst text for a naive search, far too long for it."""
    matcher = StopStrings(["a" * 100_000 + "b"])
    assert len(matcher.push("a" * 300_000)) == 200_000
    assert not matcher.has_matched
