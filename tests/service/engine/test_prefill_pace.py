"""On a machine whose steps take what a formula says: the pace finds it."""

import pytest

from service.engine.prefill_pace import LEAST_TOKENS, MARGIN, ROW_STEP, PrefillPace

STREAM_S = 1e-3
TOKEN_S = 5e-4
BASE_S = 2e-3


def step_s(num_streams: int, num_tokens: int) -> float:
    return BASE_S + num_streams * STREAM_S + num_tokens * TOKEN_S


def run(pace: PrefillPace, num_streams: int, num_waiting: int, num_steps: int = 60, budget: int = 512) -> int:
    """Steps with as many prompt tokens as allowed. Returns how many that is in the end."""
    tokens = budget
    for _ in range(num_steps):
        paced = pace.num_tokens(num_streams, num_waiting)
        tokens = budget if paced is None else min(paced, budget)
        pace.observe(num_streams, tokens, step_s(num_streams, tokens))
    return tokens


def after_decoding(*numbers: int, target_s: float | None = None) -> PrefillPace:
    pace = PrefillPace(target_s)
    for num_streams in numbers:
        for _ in range(20):
            pace.observe(num_streams, 0, step_s(num_streams, 0))
    return pace


def test_no_limit_without_streams_or_knowledge() -> None:
    assert PrefillPace().num_tokens(0, 5) is None
    assert PrefillPace().num_tokens(3, 5) is None
    assert after_decoding(3).num_tokens(0, 5) is None


@pytest.mark.parametrize("num_streams", [1, 8, 30])
def test_a_step_takes_no_more_than_twice_its_streams(num_streams: int) -> None:
    tokens = run(after_decoding(num_streams), num_streams, 0)
    alone_s = step_s(num_streams, 0)
    assert (num_streams + tokens) % ROW_STEP == 0 or tokens == LEAST_TOKENS
    assert step_s(num_streams, tokens) <= 2 * alone_s + ROW_STEP / 2 * TOKEN_S
    assert step_s(num_streams, tokens) >= (1 + 0.9 * MARGIN) * alone_s - (1 + ROW_STEP / 2) * TOKEN_S


def test_a_crowd_gets_more() -> None:
    few, crowd = (run(after_decoding(4), 4, num_waiting) for num_waiting in (1, 12))
    assert crowd == pytest.approx(6 * few, abs=6 * ROW_STEP)


def test_a_target_is_kept_whoever_waits() -> None:
    for num_waiting in (1, 30):
        tokens = run(after_decoding(8, target_s=0.05), 8, num_waiting)
        assert 0.9 * MARGIN * 0.05 - ROW_STEP * TOKEN_S <= step_s(8, tokens) <= 0.05


def test_prompts_progress_even_if_the_target_is_missed_without_them() -> None:
    assert run(after_decoding(8, target_s=1e-3), 8, 1) == LEAST_TOKENS


def test_the_nearest_number_of_streams_stands_in() -> None:
    pace = after_decoding(4, 16)
    pace.observe(16, 10, step_s(16, 10))
    assert pace.num_tokens(14, 0) == pytest.approx(pace.num_tokens(16, 0), abs=ROW_STEP)
    assert pace.num_tokens(1, 0) == pytest.approx(pace.num_tokens(4, 0), abs=ROW_STEP)
    assert pace.num_tokens(4, 0) != pace.num_tokens(16, 0)


def test_one_step_that_lost_its_core_changes_little() -> None:
    pace = after_decoding(8)
    before = run(pace, 8, 1)
    pace.observe(8, before, 50 * step_s(8, before))
    after = pace.num_tokens(8, 1)
    assert after is not None
    assert before / 2 <= after <= before


def test_it_follows_a_machine_that_became_slower() -> None:
    pace = after_decoding(8)
    before = run(pace, 8, 1)
    for _ in range(60):
        tokens = pace.num_tokens(8, 1)
        assert tokens is not None
        pace.observe(8, tokens, step_s(8, 0) + 4 * tokens * TOKEN_S)
    assert pace.num_tokens(8, 1) == pytest.approx(before / 4, abs=ROW_STEP)
