"""Log probabilities of a prompt's own tokens: those of the logits before each, however the prompt is cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from service.engine.plan import Chunk, StepPlan
from service.engine.prefill_chunk import prefill_chunk, take_scores
from service.engine.request import SampledToken, SamplingParams
from service.gemmule_model import GemmuleModel
from tests.service.model.driver import every_position, sequence

PROMPT = [3 + (7 * position) % 300 for position in range(70)]
SCORED = SamplingParams(temperature=0.0, prompt_logprobs=3)


def scores_of(model: GemmuleModel, rows: int, other: bool) -> list[SampledToken]:
    """In chunks of so many rows; beside another sequence, which scores nothing."""
    own = sequence(PROMPT, range(3), sampling=SCORED)
    beside = [Chunk(sequence(PROMPT[::-1], range(5, 8)), 0, len(PROMPT), samples=True)] if other else []
    while own.num_uncomputed:
        chunk = prefill_chunk(own, 256, rows)
        sampled = model.runner.run(StepPlan((chunk, *beside)))
        assert len(sampled) == chunk.num_logit_rows + len(beside)
        left = take_scores(chunk, sampled[: chunk.num_logit_rows])
        assert len(left) == chunk.samples
        own.num_computed += chunk.num_tokens
    return own.scores


@pytest.mark.parametrize("weight_type", ["Q4_0", "F32"])
def test_scores_are_the_log_softmax_of_every_position(model_of: Callable[..., GemmuleModel], weight_type: str) -> None:
    model = model_of(weight_type=weight_type)
    logits = every_position(model, PROMPT).astype(np.float64)
    logprobs = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    logprobs -= logits.max(1, keepdims=True)
    whole = scores_of(model, 256, other=False)
    assert [score.id for score in whole] == PROMPT[1:]
    for position, score in enumerate(whole):
        assert score.logprob == pytest.approx(logprobs[position, PROMPT[position + 1]], abs=1e-4)
        best = np.argsort(-logprobs[position], kind="stable")[:3]
        assert [token_id for token_id, _ in score.top] == best.tolist()
    for rows, other in ((1, False), (7, True), (32, True)):
        assert scores_of(model, rows, other) == whole
