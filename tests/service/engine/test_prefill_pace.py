"""On a machine whose steps take what a formula says: the pace finds it."""

import pytest

from service.engine.prefill_pace import (
    CROWD,
    FIXED_ROWS,
    FLUENT_S,
    MANY_TOKENS,
    MARGIN,
    SHARE,
    STEPS_BETWEEN,
    TILE_TOKENS,
    PrefillPace,
)

STREAM_S = 1e-3
TOKEN_S = 5e-4
BASE_S = FIXED_ROWS * STREAM_S


def step_s(num_streams: int, num_tokens: int) -> float:
    return BASE_S + num_streams * STREAM_S + num_tokens * TOKEN_S


def run(pace: PrefillPace, num_streams: int, num_waiting: int, num_steps: int = 60, budget: int = 512) -> int:
    """Steps with as many prompt tokens as allowed. Returns how many that is in the end."""
    most = budget
    for _ in range(num_steps):
        paced = pace.num_tokens(num_streams, num_waiting)
        tokens = budget if paced is None else min(paced, budget)
        pace.observe(num_streams, tokens, step_s(num_streams, tokens))
        most = tokens or most
    return most


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


def test_no_limit_where_steps_take_no_time() -> None:
    pace = PrefillPace()
    pace.observe(3, 0, 0.0)
    pace.observe(3, 5, 0.0)
    assert pace.num_tokens(3, 5) is None


@pytest.mark.parametrize("num_streams", [1, 8, 30])
def test_a_step_takes_about_twice_as_long_as_its_streams(num_streams: int) -> None:
    tokens = run(after_decoding(num_streams), num_streams, 0)
    wanted_s = (1 + SHARE) * step_s(num_streams, 0)
    assert wanted_s - TILE_TOKENS * TOKEN_S <= step_s(num_streams, tokens) <= wanted_s + TOKEN_S / 2


def test_many_tokens_are_whole_tiles() -> None:
    few, many = (run(after_decoding(num_streams), num_streams, 0) for num_streams in (2, 8))
    assert few <= MANY_TOKENS < many
    assert few % TILE_TOKENS
    assert many % TILE_TOKENS == 0


def test_a_crowd_gets_more_while_streams_stay_fluent() -> None:
    few, crowd = (run(after_decoding(2), 2, num_waiting) for num_waiting in (0, 1))
    assert step_s(2, few) < 0.9 * MARGIN * FLUENT_S <= step_s(2, crowd) <= FLUENT_S
    assert run(after_decoding(2), 2, 30) == crowd


def test_the_larger_the_crowd_the_more() -> None:
    pace = PrefillPace()
    pace.observe(8, 0, 0.1 * step_s(8, 0))
    pace.observe(8, 20, 0.1 * step_s(8, 20))
    one, three = (pace.num_tokens(8, num_waiting) for num_waiting in (1, 3))
    assert one is not None
    assert three == pytest.approx(MARGIN * CROWD * 3 / 8 / SHARE * one, abs=2 * TILE_TOKENS)  # both were rounded


def test_where_streams_alone_are_not_fluent_a_crowd_gets_what_one_prompt_gets() -> None:
    assert step_s(30, 0) > FLUENT_S
    assert run(after_decoding(30), 30, 30) == run(after_decoding(30), 30, 1)


def test_a_target_is_kept_whoever_waits() -> None:
    for num_waiting in (1, 30):
        for target_s in (0.0195, 0.05):  # of which prompts may have less than two tiles, and many
            tokens = run(after_decoding(8, target_s=target_s), 8, num_waiting)
            assert 0.9 * MARGIN * target_s - TOKEN_S <= step_s(8, tokens) <= target_s


def test_streams_are_measured_alone_now_and_then() -> None:
    pace = after_decoding(8)
    before = run(pace, 8, 1)
    tokens = []
    for _ in range(6 * (STEPS_BETWEEN + 1)):
        paced = pace.num_tokens(8, 1)
        assert paced is not None
        tokens.append(paced)
        pace.observe(8, paced, 3 * step_s(8, paced))
    assert tokens.count(0) == 6
    # The machine is three times slower now; what a prompt token costs beside a stream is what it was.
    assert tokens[-1] == pytest.approx(before, abs=2)


def test_prompts_progress_even_if_the_target_is_missed_without_them() -> None:
    assert run(after_decoding(8, target_s=1e-3), 8, 1) == TILE_TOKENS


def test_other_numbers_of_streams_follow_from_one() -> None:
    pace = after_decoding(4)
    pace.observe(4, 10, step_s(4, 10))
    for num_streams in (1, 4, 30):
        tokens = pace.num_tokens(num_streams, 0)
        assert tokens is not None
        assert step_s(num_streams, tokens) <= (1 + SHARE) * step_s(num_streams, 0) + TOKEN_S


@pytest.mark.parametrize("num_tokens", [0, 10])
def test_one_step_that_lost_its_core_changes_nothing(num_tokens: int) -> None:
    pace = after_decoding(8)
    before = run(pace, 8, 1)
    pace.observe(8, num_tokens, 50 * step_s(8, num_tokens))
    assert run(pace, 8, 1, num_steps=1) == before


def test_a_process_that_takes_a_core_for_a_while_changes_nothing() -> None:
    pace = after_decoding(*[8] * 10)
    before = run(pace, 8, 1)
    for _ in range(100):
        pace.observe(8, 0, step_s(8, 0))
    for _ in range(30):
        pace.observe(8, 0, 4 * step_s(8, 0))
    assert run(pace, 8, 1, num_steps=1) == before


def test_one_step_among_many_with_prompts_is_enough_to_forget_slow_ones() -> None:
    pace = after_decoding(8)
    before = run(pace, 8, 1)
    for _ in range(100):
        pace.observe(8, 0, 4 * step_s(8, 0))
    run(pace, 8, 1, num_steps=3 * STEPS_BETWEEN)
    assert run(pace, 8, 1, num_steps=10) == pytest.approx(before, abs=1)


def test_it_follows_a_machine_that_became_slower() -> None:
    pace = after_decoding(8)
    before = run(pace, 8, 1)
    for _ in range(60):
        tokens = pace.num_tokens(8, 1)
        assert tokens is not None
        pace.observe(8, tokens, step_s(8, 0) + 4 * tokens * TOKEN_S)
    assert run(pace, 8, 1, num_steps=1) == pytest.approx(before / 4, abs=2)
