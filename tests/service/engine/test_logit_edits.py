import math

import numpy as np
import pytest

from kernels.runtime.abi import SAMPLING
from service.engine.constraint import TokenConstraint
from service.engine.logit_edits import LogitEdits
from service.engine.request import Dry, SamplingParams
from tests.service.engine.constraints import Script

PROMPT = [5, 6, 5]
VOCAB = 100


def edits(
    constraint: TokenConstraint | None = None, end_ids: frozenset[int] = frozenset(), **sampling: object
) -> LogitEdits:
    return LogitEdits(SamplingParams(**sampling), PROMPT, end_ids, constraint, VOCAB)  # type: ignore[arg-type]


def record_after(made: LogitEdits, *output: int) -> np.ndarray:
    made.update([*PROMPT, *output])
    record = np.zeros(1, SAMPLING)
    made.write(record[0])
    return record


def pairs(record: np.ndarray, count: str, keys: str, values: str, kind: type) -> dict[int, float]:
    num = int(record[count][0])
    return dict(zip(_at(record[keys][0], num, np.int32), _at(record[values][0], num, kind), strict=True))


def _at(address: int, count: int, kind: type) -> list[float]:
    import ctypes

    size = count * np.dtype(kind).itemsize
    return np.frombuffer(ctypes.string_at(int(address), size), kind).tolist() if count else []


def bias(record: np.ndarray) -> dict[int, float]:
    return pairs(record, "num_bias", "bias_ids", "bias_values", np.float32)


def seen(record: np.ndarray) -> dict[int, float]:
    return pairs(record, "num_seen", "seen_ids", "seen_counts", np.int32)


def mask(record: np.ndarray) -> set[int]:
    words = _at(record["mask"][0], 4, np.uint32)
    return {token for token in range(128) if int(words[token // 32]) >> token % 32 & 1}


def history(record: np.ndarray) -> list[float]:
    return _at(record["history"][0], int(record["num_history"][0]), np.int32)


def test_dry_looks_through_prompt_and_output() -> None:
    made = edits(dry=Dry(multiplier=0.5, allowed_length=3))
    assert history(record_after(made)) == PROMPT
    record = record_after(made, *range(200))
    assert history(record) == [*PROMPT, *range(200)]
    assert (record["dry_multiplier"][0], record["dry_base"][0], record["dry_allowed_length"][0]) == (0.5, 1.75, 3)


def test_dry_looks_back_so_far_and_not_across_breakers() -> None:
    made = edits(dry=Dry(multiplier=1, last_n=4, breaker_ids=frozenset({6, 9})))
    assert history(record_after(made)) == [5, -2, 5]
    assert history(record_after(made, 9, 7, 9)) == [5, -4, 7, -6], "each breaker is another number"
    assert history(record_after(edits(temperature=0.0, repetition_penalty=2.0))) == []


def test_repetition_counts_the_prompt_with_zero() -> None:
    made = edits(repetition_penalty=1.2)
    assert seen(record_after(made)) == {5: 0, 6: 0}
    assert seen(record_after(made, 6, 7)) == {5: 0, 6: 1, 7: 1}
    assert seen(record_after(made, 6, 7, 7)) == {5: 0, 6: 1, 7: 2}


def test_the_other_penalties_leave_the_prompt_alone() -> None:
    record = record_after(edits(presence_penalty=0.5, frequency_penalty=0.25), 6)
    assert seen(record) == {6: 1}
    assert (record["presence_penalty"], record["frequency_penalty"], record["repetition_penalty"]) == (0.5, 0.25, 1)


def test_a_record_keeps_nothing_of_the_request_before() -> None:
    record = record_after(edits(repetition_penalty=1.5, dry=Dry(multiplier=0.5), logit_bias=((3, 1.0),)), 7)
    assert seen(record)
    assert history(record)
    edits(Script(1)).write(record[0])
    assert (seen(record), history(record), bias(record)) == ({}, [], {})


def test_arrays_grow_with_the_output() -> None:
    made = edits(presence_penalty=1.0)
    for length in range(1, 300):
        record = record_after(made, *range(length))
    assert seen(record) == dict.fromkeys(range(299), 1)


def test_min_tokens_bans_the_end() -> None:
    made = edits(min_tokens=2, end_ids=frozenset({1, 2}), logit_bias=((9, 1.5),))
    banned = {9: 1.5, 1: -math.inf, 2: -math.inf}
    assert [bias(record_after(made, *range(length))) for length in range(3)] == [banned, banned, {9: 1.5}]


def test_the_last_token_of_a_bad_word_is_banned_where_it_would_complete_it() -> None:
    made = edits(bad_words=((8,), (3, 4), (3, 3, 5)))
    assert set(bias(record_after(made))) == {8}
    assert set(bias(record_after(made, 3))) == {8, 4}
    assert set(bias(record_after(made, 3, 3))) == {8, 4, 5}
    assert set(bias(record_after(made, 3, 3, 1))) == {8}


def test_bad_words_do_not_begin_in_the_prompt() -> None:
    assert not bias(record_after(edits(bad_words=((5, 7),))))


def test_allowed_tokens_are_a_mask() -> None:
    assert mask(record_after(edits(allowed_token_ids=frozenset({0, 31, 32, 99, 100, 5000})))) == {0, 31, 32, 99}


def test_a_constraint_and_allowed_tokens_are_both_kept() -> None:
    made = edits(Script(40, 41), allowed_token_ids=frozenset({40}))
    made.fill_mask()
    assert mask(record_after(made)) == {40}
    made = edits(Script(40), allowed_token_ids=frozenset({41}))
    made.fill_mask()
    assert mask(record_after(made)) == set()


@pytest.mark.parametrize(
    ("needed", "sampling"),
    [
        (False, {}),
        (False, {"temperature": 0.5, "top_k": 5, "logprobs": 3, "stop_token_ids": frozenset({3})}),
        (True, {"min_tokens": 1}),
        (True, {"repetition_penalty": 1.1}),
        (True, {"frequency_penalty": -0.1}),
        (True, {"logit_bias": ((3, 1.0),)}),
        (True, {"bad_words": ((3,),)}),
        (True, {"allowed_token_ids": frozenset({3})}),
    ],
)
def test_who_needs_them(needed: bool, sampling: dict[str, object]) -> None:
    assert LogitEdits.are_needed(SamplingParams(**sampling), None) is needed  # type: ignore[arg-type]
    assert LogitEdits.are_needed(SamplingParams(), Script(1))
