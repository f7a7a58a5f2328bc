"""What a constraint leaves no choice about: it follows without a draw, and is what would have been drawn."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from service.engine.request import FinishReason, Request, SampledToken
from service.engine.scheduler import Scheduler
from service.errors import OutputStuck
from tests.service.engine.builders import request, scheduler
from tests.service.engine.constraints import Forcing
from tests.service.engine.test_scheduler import run_all, step
from tests.service.fakes import EOS, FakeRunner

NUM_TOKENS = 40


def forcing(own: Request, choices: Sequence[int], num_tokens: int = NUM_TOKENS) -> Request:
    return replace(own, constraint=Forcing(FakeRunner().expected_tokens(own, num_tokens), choices))


def chunk_sizes(engine: Scheduler, runner: FakeRunner) -> list[int]:
    run_all(engine, runner)
    return [num_tokens for plan in runner.plans for _, _, num_tokens in plan]


def test_they_are_computed_with_the_token_before_them() -> None:
    engine, runner = scheduler(), FakeRunner()
    own = request(num_prompt=4, max_tokens=NUM_TOKENS)
    engine.add(forcing(own, choices=(0, 10, 11, 20)), seed=0)
    assert run_all(engine, runner) == {own.id: runner.expected_tokens(own, NUM_TOKENS)}
    sizes = [num_tokens for plan in runner.plans for _, _, num_tokens in plan]
    # The prompt, then what was drawn at 0 and forced up to 10, what was drawn at 10, what was drawn at 11 and forced up
    # to 20, and so on: at most as many as let every sequence force so many in a step.
    assert sizes == [4, 10, 1, 9, 16]
    assert engine.num_forced_tokens == NUM_TOKENS - len(sizes)


def test_as_many_as_fit_into_a_step_whoever_else_forces() -> None:
    engine, runner = scheduler(max_batch=4, token_budget=20), FakeRunner()
    for _ in range(4):
        engine.add(forcing(request(max_tokens=NUM_TOKENS), choices=()), seed=0)
    run_all(engine, runner)
    assert max(sum(num for _, _, num in plan) for plan in runner.plans) == 20


@pytest.mark.parametrize(
    "sampling",
    [
        {"logprobs": 0},
        {"min_tokens": 3},
        {"bad_words": ((1, 2),)},
        {"logit_bias": ((3, 1.0),)},
        {"allowed_token_ids": frozenset(range(256))},
    ],
)
def test_not_where_their_likelihood_is_wanted_or_a_draw_may_refuse_them(sampling: dict[str, object]) -> None:
    engine = scheduler()
    engine.add(forcing(request(num_prompt=4, max_tokens=5, **sampling), choices=()), seed=0)
    assert chunk_sizes(engine, FakeRunner()) == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
def test_max_tokens_end_them(max_tokens: int) -> None:
    engine, runner = scheduler(), FakeRunner()
    own = request(max_tokens=max_tokens)
    engine.add(forcing(own, choices=()), seed=0)
    assert run_all(engine, runner) == {own.id: runner.expected_tokens(own, max_tokens)}


def test_an_end_among_them() -> None:
    for script, reason in (([*b"ab", EOS, *b"cd"], FinishReason.STOP), ([*b"abc"], FinishReason.STOP)):
        engine, runner = scheduler(), FakeRunner(script=b"a")
        engine.add(replace(request(max_tokens=50), constraint=Forcing(script)), seed=0)
        _, outputs = step(engine, runner)
        assert [output.token.id for output in outputs if isinstance(output.token, SampledToken)] == script[:3]
        assert [output.finish_reason for output in outputs] == [None, None, reason]
        assert outputs[-1].is_complete == (EOS not in script)
        assert not engine.has_work
        engine.check()


def test_a_constraint_that_fails_ends_its_own_request() -> None:
    class Failing(Forcing):
        def forced(self, most: int) -> Sequence[int]:
            raise OutputStuck("too deep")

    engine, runner = scheduler(), FakeRunner()
    other = request(max_tokens=5)
    own = request(max_tokens=5)
    engine.add(replace(own, constraint=Failing(runner.expected_tokens(own, 5))), seed=0)
    engine.add(other, seed=0)
    _, outputs = step(engine, runner)
    failed = [output for output in outputs if output.finish_reason is FinishReason.ERROR]
    assert [output.sequence.id for output in failed] == [own.id]
    assert run_all(engine, runner)[other.id] == runner.expected_tokens(other, 5)[1:]
    engine.check()
