"""Guesses from a sequence's own text: what is guessed, and that no token changes when they are verified."""

from dataclasses import replace

import pytest

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.draft_length import REST_STEPS, DraftLength
from service.engine.prompt_lookup import PromptLookup
from service.engine.request import FailedRow, FinishReason
from tests.service.engine.builders import request, scheduler
from tests.service.engine.constraints import Script
from tests.service.engine.test_scheduler import run_all, step
from tests.service.fakes import FakeRunner


def test_what_followed_the_last_tokens_before_is_guessed() -> None:
    lookup = PromptLookup()
    text = [1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3]
    assert lookup.guess(text, 4) == (4, 5, 6, 7)
    assert PromptLookup().guess([1, 2, 3, 1, 2, 3], 4) == (1, 2, 3, 1)
    assert lookup.guess(text, 2) == (4, 5)
    assert lookup.guess([*text, 8], 8) == ()


def test_the_latest_occurrence_counts() -> None:
    assert PromptLookup().guess([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], 1) == (5,)


@pytest.mark.parametrize("text", [[], [1], [1, 2, 3], [1, 2, 3, 1, 2, 4]])
def test_nothing_to_guess_from(text: list[int]) -> None:
    assert PromptLookup().guess(text, 8) == ()


def test_the_index_grows_with_the_text() -> None:
    lookup, text = PromptLookup(), [1, 2, 3, 4, 5]
    for token in (1, 2, 3):
        assert lookup.guess(text, 8) == ()
        text.append(token)
    assert lookup.guess(text, 4) == (4, 5, 1, 2)


def test_guesses_grow_while_they_are_right_and_rest_when_they_are_not() -> None:
    length = DraftLength(16)
    assert length.next() == 4
    length.learn(4, 4)
    assert length.next() == 8
    length.learn(8, 2)
    assert length.next() == 3
    for num in (3, 1):
        assert length.next() == num
        length.learn(num, 0)
    assert [length.next() for _ in range(REST_STEPS + 1)] == [0] * REST_STEPS + [1]


@pytest.mark.parametrize("alphabet", [b"a", b"ab", b"abcdefgh"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_verified_guesses_change_no_token(alphabet: bytes, temperature: float) -> None:
    engine, runner = scheduler(num_drafts=6, max_batch=16), FakeRunner(alphabet=alphabet)
    requests = [request(50, id=name, max_tokens=90, temperature=temperature) for name in ("first", "second")]
    for own in requests:
        engine.add(own, seed=0)
    assert run_all(engine, runner) == {own.id: runner.expected_tokens(own, 90) for own in requests}
    if alphabet == b"a":
        assert len(runner.plans) < 40


def test_an_end_within_what_was_guessed() -> None:
    engine, runner = scheduler(num_drafts=8, max_batch=16), FakeRunner(script=b"abcabcabcabc")
    engine.add(request(max_tokens=100), seed=0)
    outputs = []
    while engine.has_work:
        outputs += step(engine, runner)[1]
    assert bytes(output.token.id for output in outputs[:-1]) == b"abcabcabcabc"
    assert [output.finish_reason for output in outputs] == [*[None] * 12, FinishReason.STOP]
    assert len(runner.plans) < 13


def test_a_guess_never_exceeds_max_tokens_or_the_context() -> None:
    engine, runner = (
        scheduler(num_blocks=2, max_context=2 * BLOCK_TOKENS, num_drafts=8, max_batch=16),
        FakeRunner(alphabet=b"a"),
    )
    engine.add(request(10, id="context", max_tokens=None), seed=0)
    assert len(run_all(engine, runner)["context"]) == 2 * BLOCK_TOKENS - 10
    engine.add(request(10, id="few", max_tokens=7), seed=0)
    assert len(run_all(engine, runner)["few"]) == 7


def test_a_row_that_fails_counts_only_if_it_is_reached() -> None:
    engine, runner = scheduler(num_drafts=4), FakeRunner(alphabet=b"a")
    engine.add(request(max_tokens=100), seed=0)
    while True:
        plan = engine.plan()
        sampled: list = runner.run(plan)
        if plan.num_drafts:
            break
        engine.commit(plan, sampled)
    sampled[1] = FailedRow("bad luck")
    assert [output.finish_reason for output in engine.commit(plan, sampled)] == [None, FinishReason.ERROR]
    assert not engine.has_work
    engine.check()


def test_who_edits_logits_or_waits_for_company_does_not_guess() -> None:
    runner = FakeRunner(alphabet=b"a")
    for own in (
        request(max_tokens=20, presence_penalty=0.5),
        replace(request(max_tokens=20), constraint=Script(*[ord("a")] * 40)),
    ):
        engine = scheduler(num_drafts=4)
        engine.add(own, seed=0)
        run_all(engine, runner)
    crowd = scheduler(num_drafts=4, max_batch=1)
    for _ in range(2):
        crowd.add(request(max_tokens=5), seed=0)
    run_all(crowd, runner)
    assert all(num == 1 or start == 0 for plan in runner.plans for _, start, num in plan)
