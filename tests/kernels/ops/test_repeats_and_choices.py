"""DRY and XTC against their twins, and what they are for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ops.sampling.reference import RowSampling, sample
from tests.kernels.ops.sampler import GREEDY, assert_same, normal_logits, run_sampler

REPEATS = {
    "short": (7, 8, 9, 7, 8),
    "longest_counts": (1, 2, 3, 9, 2, 3, 8, 1, 2, 3),
    "too_short": (3, 9, 3),
    "one_token": (5,) * 100,
    "broken": (1, 2, -3, 4, 9, 1, 2, -8, 4),
    "breaker_is_not_punished": (1, 2, -3, 1, 2),
    "ends_in_a_breaker": (1, 2, -3, 9, 1, 2, -8),
    "outside_the_vocabulary": (1, 2, 700, 1, 2, 2**31 - 1, 1, 2),
    "single": (4,),
}


@pytest.mark.parametrize("name", REPEATS)
@pytest.mark.parametrize("allowed_length", [1, 2, 3])
def test_dry_is_the_twins(name: str, allowed_length: int) -> None:
    logits = normal_logits(1, 600, spread=1.0)
    base = RowSampling(history=REPEATS[name], dry_allowed_length=allowed_length, seen=((9, 2),), presence_penalty=0.5)
    rows = [replace(base, seed=seed, temperature=0.05 * seed) for seed in range(20)]
    found, _ = run_sampler(logits.repeat(len(rows), 0), rows, num_threads=2)
    for own, row in zip(found, rows, strict=True):
        assert_same(own, sample(logits[0], row))


def test_dry_punishes_what_would_repeat() -> None:
    logits = np.zeros((1, 50), np.float32)
    logits[0, 9], logits[0, 8] = 1.0, 0.5
    row = replace(GREEDY, history=(1, 2, 3, 9, 1, 2, 3), dry_multiplier=1.0, dry_base=2.0, dry_allowed_length=2)
    found, _ = run_sampler(logits.repeat(2, 0), [row, replace(row, dry_allowed_length=4)])
    assert [own.token for own in found] == [8, 9], "3 tokens match: 1 * 2^(3 - 2) is taken off, or nothing"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-60, 6), max_size=200), st.integers(1, 5))
def test_dry_on_any_history(tokens: list[int], allowed_length: int) -> None:
    history = tuple(token if token >= 0 else -1 - place for place, token in enumerate(tokens))
    logits = normal_logits(1, 8, spread=0.3)
    row = replace(GREEDY, history=history, dry_allowed_length=allowed_length, dry_base=1.05)
    found, _ = run_sampler(logits, [row])
    assert_same(found[0], sample(logits[0], row))


def test_xtc_leaves_the_last_of_the_top_choices() -> None:
    logits = np.log(np.array([[0.3, 0.1, 0.4, 0.05, 0.15]], np.float32))
    rows = [RowSampling(xtc_probability=1.0, xtc_threshold=0.14, seed=seed) for seed in range(100)]
    found, _ = run_sampler(logits.repeat(100, 0), rows)
    assert {own.token for own in found} == {1, 3, 4}
    rows = [replace(row, xtc_threshold=0.35) for row in rows]
    found, _ = run_sampler(logits.repeat(100, 0), rows)
    assert {own.token for own in found} == {0, 1, 2, 3, 4}, "one top choice alone stays"
