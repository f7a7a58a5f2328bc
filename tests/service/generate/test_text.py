from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import FinishReason, SampledToken, SamplingParams, TokenEvent
from service.generate.text import TextAssembler, TextEvent
from tests.service.fakes import EOS, IM_START, FakeTokenizer
from tests.service.generate.test_stop_strings import STOPS, cut_by_find

TOKENIZER = FakeTokenizer()


def assembler(*stops: str, logprobs: int | None = None, min_tokens: int = 0) -> TextAssembler:
    sampling = SamplingParams(logprobs=logprobs, min_tokens=min_tokens)
    return TextAssembler(TOKENIZER, sampling, stops, prompt_ids=b"1234567")  # type: ignore[arg-type]


def event(ids: Sequence[int], reason: FinishReason | None = None) -> TokenEvent:
    return TokenEvent(tuple(SampledToken(id, -0.25, ((id, -0.25), (65, -3.0))) for id in ids), reason)


def feed(text: TextAssembler, ids: Sequence[int], reason: FinishReason) -> list[TextEvent]:
    """One token an event, until the text has ended."""
    events = []
    for index, token_id in enumerate(ids):
        pushed = text.push(event([token_id], reason if index == len(ids) - 1 else None))
        if pushed is not None:
            events.append(pushed)
            if pushed.finish_reason is not None:
                break
    return events


def test_text_comes_token_by_token() -> None:
    events = feed(assembler(), b"abc", FinishReason.LENGTH)
    assert [e.text for e in events] == ["a", "b", "c"]
    assert [e.finish_reason for e in events] == [None, None, FinishReason.LENGTH]
    assert [(e.usage.prompt_tokens, e.usage.completion_tokens) for e in events] == [(7, 1), (7, 2), (7, 3)]
    assert all(e.tokens == () for e in events)


def test_the_token_that_ends_the_text_is_counted_but_not_shown() -> None:
    events = feed(assembler(logprobs=0), [*b"ab", EOS], FinishReason.STOP)
    assert [e.text for e in events] == ["a", "b", ""]
    assert [len(e.tokens) for e in events] == [1, 1, 0]
    assert events[-1].usage.completion_tokens == 3
    # So is a stop token of the caller's, although it has a text.
    assert [e.text for e in feed(assembler(), b"ab", FinishReason.STOP)] == ["a", ""]


def test_the_last_token_of_a_finished_constraint_is_shown() -> None:
    pushed = assembler().push(TokenEvent((SampledToken(ord("}"), -0.25),), FinishReason.STOP, is_complete=True))
    assert pushed is not None
    assert (pushed.text, pushed.finish_reason) == ("}", FinishReason.STOP)


def test_a_character_is_never_split() -> None:
    events = feed(assembler(), "aé😀z".encode(), FinishReason.LENGTH)
    assert [e.text for e in events] == ["a", "é", "😀", "z"]


def test_a_character_left_open_at_the_end_is_replaced() -> None:
    events = feed(assembler(logprobs=0), [*b"a", *"😀".encode()[:2]], FinishReason.LENGTH)
    assert "".join(e.text for e in events) == "a\ufffd"
    assert [token.id for e in events for token in e.tokens] == [*b"a", *"😀".encode()[:2]]


def test_a_stop_string_across_tokens_and_characters() -> None:
    events = feed(assembler("é😀", "never"), "abé😀cd".encode(), FinishReason.LENGTH)
    assert "".join(e.text for e in events) == "ab"
    assert events[-1].finish_reason is FinishReason.STOP
    assert events[-1].usage.completion_tokens == 2 + len("é😀".encode())


def test_a_stop_string_wins_over_the_reason_of_the_engine() -> None:
    last = assembler("b").push(event(b"abc", FinishReason.LENGTH))
    assert last is not None
    assert (last.text, last.finish_reason, last.usage.completion_tokens) == ("a", FinishReason.STOP, 2)


def test_what_was_held_back_comes_out_at_the_end() -> None:
    for reason in (FinishReason.LENGTH, FinishReason.STOP):
        ids = [*b"abEN", EOS] if reason is FinishReason.STOP else b"abEN"
        events = feed(assembler("END", logprobs=1), ids, reason)
        assert [e.text for e in events] == ["a", "b", "EN"]
        assert [token.text for token in events[-1].tokens] == ["E", "N"]
        assert events[-1].finish_reason is reason


def test_stop_strings_wait_for_the_least_number_of_tokens() -> None:
    for ids, text in ((b"aabba", "aabb"), (b"aaabb", "aa")):
        events = feed(assembler("a", min_tokens=3), ids, FinishReason.LENGTH)
        assert "".join(e.text for e in events) == text
        assert events[-1].finish_reason is FinishReason.STOP


def test_logprobs_carry_bytes_and_alternatives() -> None:
    first = assembler(logprobs=2).push(event([195]))
    assert first is None  # half of a character: its token waits with it
    text = assembler(logprobs=2)
    text.push(event([195]))
    whole = text.push(event([169]))
    assert whole is not None
    assert whole.text == "é"
    assert [(token.id, token.bytes, token.text) for token in whole.tokens] == [
        (195, b"\xc3", "\ufffd"),
        (169, b"\xa9", "\ufffd"),
    ]
    assert [(top.id, top.text, top.logprob) for top in whole.tokens[0].top] == [(195, "\ufffd", -0.25), (65, "A", -3.0)]
    assert whole.tokens[0].logprob == -0.25


def test_a_special_token_has_no_text() -> None:
    events = feed(assembler(logprobs=0), [IM_START, *b"a"], FinishReason.LENGTH)
    assert [e.text for e in events] == ["a"]
    assert [token.id for token in events[0].tokens] == [IM_START, *b"a"]


@given(
    text=st.text(alphabet="abé😀", max_size=30),
    stops=STOPS,
    sizes=st.lists(st.integers(1, 6), max_size=40),
    ends=st.booleans(),
)
def test_any_batching_of_tokens_gives_the_text_and_its_own_tokens(
    text: str, stops: list[str], sizes: list[int], ends: bool
) -> None:
    ids = [*text.encode(), EOS] if ends else [*text.encode(), *b"!"]
    reason = FinishReason.STOP if ends else FinishReason.LENGTH
    whole = text if ends else text + "!"
    expected = cut_by_find(whole, stops)
    under_test = assembler(*stops, logprobs=0)
    out, tokens, last = "", [], None
    at = 0
    for size in [*sizes, len(ids)]:
        batch = ids[at : at + size]
        at += size
        pushed = under_test.push(event(batch, reason if at >= len(ids) else None))
        if pushed is not None:
            out += pushed.text
            tokens += [token.id for token in pushed.tokens]
            last = pushed
            assert expected.startswith(out)
            assert len(bytes(tokens)) <= len(expected.encode())
            if pushed.finish_reason is not None:
                break
    assert last is not None
    assert out == expected
    assert bytes(tokens) == expected.encode()
    assert last.finish_reason is (FinishReason.STOP if expected != whole else reason)
    if expected == whole:
        assert last.usage.completion_tokens == len(ids)


@pytest.mark.parametrize("logprobs", [None, 0])
def test_an_event_without_text_or_tokens_says_nothing(logprobs: int | None) -> None:
    assert assembler("ab", logprobs=logprobs).push(event(b"a")) is None
