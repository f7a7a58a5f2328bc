"""Bans, penalties and constraints on a real model's steps: one native call or two, alone and among others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from service.engine.plan import Chunk
from service.engine.request import FailedRow, Request, SampledToken, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.errors import OutputStuck
from service.gemmule_model import GemmuleModel
from tests.service.engine.constraints import Broken, Nothing, Script
from tests.service.model.driver import sequence, step

ModelOf = Callable[..., GemmuleModel]

PROMPT = list(range(5, 25))


@pytest.fixture
def model(model_of: ModelOf) -> GemmuleModel:
    return model_of(weight_type="Q8_0")


def greedy(blocks: Sequence[int], constraint: Script | None = None, **sampling: object) -> TokenSequence:
    made = sequence(PROMPT, blocks, sampling=SamplingParams(temperature=0.0, **sampling))  # type: ignore[arg-type]
    if constraint is not None:
        request = Request(
            id="bound", prompt_ids=tuple(PROMPT), sampling=made.sampling, arrival_s=0, constraint=constraint
        )
        bound = TokenSequence(request, rank=(0.0, 0), max_tokens=1, seed=0)
        bound.block_table = made.block_table
        return bound
    return made


def draw(model: GemmuleModel, *sequences: TokenSequence) -> list[SampledToken | FailedRow]:
    return list(step(model, *(Chunk(own, 0, len(own.token_ids), samples=True) for own in sequences))[1])


def test_bans(model: GemmuleModel) -> None:
    (first,) = draw(model, greedy([0]))
    assert isinstance(first, SampledToken)
    (second,) = draw(model, greedy([0], logit_bias=((first.id, -float("inf")),)))
    assert isinstance(second, SampledToken)
    assert second.id != first.id
    for sampling in ({"bad_words": ((first.id,),)}, {"presence_penalty": 0.5, "bad_words": ((first.id,),)}):
        assert draw(model, greedy([0], **sampling)) == [second]
    (only,) = draw(model, greedy([0], allowed_token_ids=frozenset({second.id})))
    assert only == second


def test_a_token_that_nothing_allows(model: GemmuleModel) -> None:
    fails, goes_on = draw(model, greedy([0], allowed_token_ids=frozenset({10**6})), greedy([1]))
    assert isinstance(fails, FailedRow)
    assert isinstance(fails.refusal, OutputStuck)
    assert [goes_on] == draw(model, greedy([1]))


def test_a_step_with_constraints_changes_nobody_elses_token(model: GemmuleModel) -> None:
    alone = draw(model, greedy([0]))
    script = Script(42, 43)
    plain, bound, broken, nothing = draw(
        model, greedy([0]), greedy([1], script), greedy([2], Broken(1)), greedy([3], Nothing(1))
    )
    assert [plain] == alone
    assert isinstance(bound, SampledToken)
    assert bound.id == 42
    assert isinstance(broken, FailedRow)
    assert "on fire" in broken.reason
    assert broken.refusal is None
    assert isinstance(nothing, FailedRow)
    assert isinstance(nothing.refusal, OutputStuck)
    assert script.num_masks == 1
