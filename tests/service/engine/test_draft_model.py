"""Guesses of a draft model: no token changes, its books balance, and it never lags behind for long."""

import logging
from dataclasses import replace

import pytest

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.draft_model import CATCH_UP_TOKENS
from service.engine.drafter import DraftStats
from service.engine.plan import StepPlan
from service.engine.request import DrafterKind, FailedRow, SampledToken
from service.engine.scheduler import Scheduler
from tests.service.engine.builders import request, scheduler
from tests.service.engine.fake_draft_model import FakeDraftRunner, fake_draft_model
from tests.service.engine.test_scheduler import run_all, step
from tests.service.fakes import EOS, FakeRunner


def stats_of(engine: Scheduler) -> DraftStats:
    return engine.drafting.stats[DrafterKind.DRAFT_MODEL]


@pytest.mark.parametrize("percent_right", [0, 50, 100])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_token_changes(percent_right: int, temperature: float) -> None:
    runner, guessing = FakeRunner(), FakeDraftRunner(percent_right=percent_right)
    model, pool = fake_draft_model(guessing)
    engine = scheduler(num_drafts=6, max_batch=16, draft_model=model)
    requests = [request(50 + n, id=f"r{n}", max_tokens=90, temperature=temperature, seed=n) for n in range(3)]
    for own in requests:
        engine.add(own, seed=own.sampling.seed or 0)
    assert run_all(engine, runner) == {own.id: runner.expected_tokens(own, 90) for own in requests}
    pool.check([])
    stats = stats_of(engine)
    assert stats.num_guessed > 0
    assert engine.drafting.stats[DrafterKind.PROMPT_LOOKUP] == DraftStats()
    match percent_right:
        case 0:
            assert stats.num_right == 0
            assert len(runner.plans) > 90
        case 50:
            assert 0 < stats.num_right < stats.num_guessed
        case 100:
            assert stats.num_right == stats.num_guessed
            assert len(runner.plans) < 40, "three sequences, up to four guesses each"


def test_all_that_guess_share_the_draft_models_steps() -> None:
    guessing = FakeDraftRunner()
    engine = scheduler(num_drafts=3, max_batch=16, draft_model=fake_draft_model(guessing)[0])
    for name in "abc":
        engine.add(request(id=name, max_tokens=30), seed=0)
    runner = FakeRunner()
    step(engine, runner)
    assert not guessing.plans, "prompts are not waited for"
    plan, _ = step(engine, runner)
    assert [len(chunk.drafts) for chunk in plan.chunks] == [3, 3, 3]
    assert [[num_tokens for _, _, num_tokens in chunks] for chunks in guessing.plans] == [
        [5, 5, 5],
        [1, 1, 1],
        [1, 1, 1],
    ]


def test_a_long_prompt_is_caught_up_in_parts_while_tokens_come() -> None:
    num_prompt = 3 * CATCH_UP_TOKENS // 2
    guessing, runner = FakeDraftRunner(), FakeRunner()
    model, pool = fake_draft_model(guessing)
    engine = scheduler(num_drafts=4, max_batch=8, token_budget=256, draft_model=model)
    own = request(num_prompt, max_tokens=40)
    engine.add(own, seed=0)
    tokens = run_all(engine, runner)[own.id]
    assert tokens == runner.expected_tokens(own, 40)
    lags = [num_tokens for ((_, _, num_tokens),) in guessing.plans if num_tokens > 2]
    assert sum(lags) >= num_prompt
    assert max(lags) <= 64, "no more than the draft model's own budget"
    pool.check([])


def test_a_prefix_is_computed_once() -> None:
    guessing, runner = FakeDraftRunner(), FakeRunner()
    model, pool = fake_draft_model(guessing)
    engine = scheduler(num_drafts=4, max_batch=8, draft_model=model)
    first = request(3 * BLOCK_TOKENS + 5, id="first", max_tokens=20)
    engine.add(first, seed=0)
    run_all(engine, runner)
    guessing.plans.clear()
    engine.add(replace(first, id="second"), seed=0)
    assert run_all(engine, runner)["second"] == runner.expected_tokens(first, 20)
    assert min(start for ((_, start, _),) in guessing.plans) == 3 * BLOCK_TOKENS
    pool.check([])


def test_equal_prompts_at_once_are_computed_once() -> None:
    guessing, runner = FakeDraftRunner(), FakeRunner()
    engine = scheduler(num_drafts=2, max_batch=16, token_budget=256, draft_model=fake_draft_model(guessing)[0])
    first = request(3 * BLOCK_TOKENS + 5, id="first", max_tokens=20)
    names = ("first", "second")
    for name in names:
        engine.add(replace(first, id=name), seed=0)
    expected = runner.expected_tokens(first, 20)
    assert run_all(engine, runner) == {"first": expected, "second": expected}
    starts = {name: min(start for plan in guessing.plans for own, start, _ in plan if own == name) for name in names}
    assert sorted(starts.values()) == [0, 3 * BLOCK_TOKENS]


def test_who_is_preempted_or_aborted_gives_the_draft_models_blocks_back() -> None:
    runner, (model, pool) = FakeRunner(), fake_draft_model(FakeDraftRunner(percent_right=80))
    engine = scheduler(4, num_drafts=4, max_batch=8, draft_model=model)
    requests = [request(20, id=name, max_tokens=70, arrival_s=n) for n, name in enumerate("ab")]
    for own in requests:
        engine.add(own, seed=0)
    heard: dict[str, list[int]] = {"a": [], "b": []}
    num_preempted, most_used = 0, 0
    while engine.has_work:
        plan, outputs = step(engine, runner)
        num_preempted += plan.num_preempted
        most_used = max(most_used, pool.num_used)
        for output in outputs:
            heard[output.sequence.id].append(output.token.id)  # type: ignore[union-attr]
    assert num_preempted
    assert most_used > 1
    assert heard == {own.id: runner.expected_tokens(own, 70) for own in requests}
    assert pool.num_used == 0
    engine.add(request(20, id="c", max_tokens=70), seed=0)
    for _ in range(3):
        step(engine, runner)
    assert pool.num_used > 0
    engine.abort("c")
    assert pool.num_used == 0
    pool.check([])


def test_without_room_tokens_come_one_at_a_time() -> None:
    runner, guessing = FakeRunner(), FakeDraftRunner()
    model, pool = fake_draft_model(guessing, num_blocks=1)
    engine = scheduler(num_drafts=4, max_batch=8, draft_model=model)
    own = request(20, max_tokens=60)
    engine.add(own, seed=0)
    assert run_all(engine, runner)[own.id] == runner.expected_tokens(own, 60)
    assert 0 < stats_of(engine).num_guessed < 16
    pool.check([])


def test_its_context_may_be_shorter() -> None:
    runner, guessing = FakeRunner(), FakeDraftRunner()
    model, pool = fake_draft_model(guessing, max_context=40)
    engine = scheduler(num_drafts=4, max_batch=8, draft_model=model)
    own = request(20, max_tokens=60)
    engine.add(own, seed=0)
    assert run_all(engine, runner)[own.id] == runner.expected_tokens(own, 60)
    assert stats_of(engine).num_guessed > 0
    assert max(start + num_tokens for plan in guessing.plans for _, start, num_tokens in plan) < 40
    pool.check([])


def test_a_step_of_it_that_fails_costs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    runner, guessing = FakeRunner(), FakeDraftRunner()
    model, pool = fake_draft_model(guessing)
    engine = scheduler(num_drafts=4, max_batch=8, draft_model=model)
    own = request(40, max_tokens=60)
    engine.add(own, seed=0)
    for _ in range(4):
        step(engine, runner)
    num_steps = len(guessing.plans)
    assert num_steps > 0
    guessing.to_raise.append(RuntimeError("no luck"))
    with caplog.at_level(logging.ERROR):
        run_all(engine, runner)
    assert "the draft model has failed" in caplog.text
    assert len(guessing.plans) == num_steps + 1
    assert (pool.num_used, pool.num_cached) == (0, 0)
    engine.add(replace(own, id="next"), seed=0)
    assert run_all(engine, runner)["next"] == runner.expected_tokens(own, 60)


class NotFinite(FakeDraftRunner):
    """For one request."""

    def run(self, plan: StepPlan) -> list[SampledToken]:
        sampled = super().run(plan)
        ids = [chunk.sequence.id for chunk in plan.chunks if chunk.samples]
        return [FailedRow("NaN") if id == "bad" else row for id, row in zip(ids, sampled, strict=True)]  # type: ignore[misc]


def test_a_row_of_it_that_fails_costs_its_sequences_guesses_alone() -> None:
    runner, guessing = FakeRunner(), NotFinite()
    model, pool = fake_draft_model(guessing)
    engine = scheduler(num_drafts=4, max_batch=16, draft_model=model)
    requests = [request(20, id=name, max_tokens=30) for name in ("good", "bad")]
    for own in requests:
        engine.add(own, seed=0)
    assert run_all(engine, runner) == {own.id: runner.expected_tokens(own, 30) for own in requests}
    assert [plan[0][0] for plan in guessing.plans if len(plan) == 1]
    assert sum(name == "bad" for plan in guessing.plans for name, _, _ in plan) == 1
    assert stats_of(engine).num_right > 0
    pool.check([])


def test_nothing_is_guessed_behind_an_end() -> None:
    script = b"abc"
    runner, guessing = FakeRunner(script=script), FakeDraftRunner(script=script)
    engine = scheduler(num_drafts=8, max_batch=16, draft_model=fake_draft_model(guessing)[0])
    engine.add(request(max_tokens=100), seed=0)
    step(engine, runner)
    plan, outputs = step(engine, runner)
    assert plan.chunks[0].drafts == (*b"bc", EOS)
    assert [output.token.id for output in outputs] == [*b"bc", EOS]  # type: ignore[union-attr]
    assert not engine.has_work


def test_a_request_chooses() -> None:
    runner, guessing = FakeRunner(alphabet=b"a"), FakeDraftRunner(alphabet=b"a")
    engine = scheduler(num_drafts=4, max_batch=16, draft_model=fake_draft_model(guessing)[0])
    for kind in (DrafterKind.NONE, DrafterKind.PROMPT_LOOKUP, DrafterKind.DRAFT_MODEL):
        before = engine.drafting.stats
        engine.add(replace(request(max_tokens=30), drafter=kind), seed=0)
        run_all(engine, runner)
        moved = [name for name, stats in engine.drafting.stats.items() if stats.num_right > before[name].num_right]
        assert moved == [name for name in (kind,) if name is not DrafterKind.NONE]
    without = scheduler(num_drafts=4, max_batch=16)
    without.add(replace(request(max_tokens=30), drafter=DrafterKind.DRAFT_MODEL), seed=0)
    run_all(without, runner)
    assert without.drafting.stats == {DrafterKind.PROMPT_LOOKUP: DraftStats()}
