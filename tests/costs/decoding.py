"""A loaded model that decodes one token a step, over and over around the same context. Knows no clock but its own."""

from __future__ import annotations

import random
from collections.abc import Callable

from service.engine.blocks import blocks_for
from service.engine.constraint import TokenConstraint
from service.engine.plan import Chunk, StepPlan
from service.engine.request import FailedRow, Request, SampledToken, SamplingParams
from service.engine.sequence import Sequence
from service.gemmule_model import GemmuleModel

CONTEXT = 128
SPAN = 64
"""Positions of the steps: CONTEXT up to this much more, so that every way of doing them meets the same lengths."""


def sequence_of(
    prompt: tuple[int, ...], sampling: SamplingParams, num_blocks: int, constraint: TokenConstraint | None = None
) -> Sequence:
    request = Request(id="cost", prompt_ids=prompt, sampling=sampling, arrival_s=0.0, constraint=constraint)
    made = Sequence(request, rank=(0.0, 0), max_tokens=num_blocks * 32, seed=1)
    made.block_table = list(range(num_blocks))
    return made


def prefill(model: GemmuleModel, sequence: Sequence) -> None:
    """All tokens but the last one."""
    for start in range(0, len(sequence.token_ids) - 1, 512):
        count = min(512, len(sequence.token_ids) - 1 - start)
        model.runner.run(StepPlan((Chunk(sequence, start, count, samples=False),)))


def decode(model: GemmuleModel, sequence: Sequence, position: int | None = None) -> SampledToken:
    """The token after the one at `position` (default: the last); it is not appended."""
    position = len(sequence.token_ids) - 1 if position is None else position
    plan = StepPlan((Chunk(sequence, position, 1, samples=True),))
    (token,) = model.runner.run(plan)
    assert not isinstance(token, FailedRow), token.reason
    return token


class Decoding:
    def __init__(self, model: GemmuleModel, clock: Callable[[], float]) -> None:
        self._clock = clock
        draw = random.Random(0)
        tokens = tuple(draw.randrange(model.vocab_size) for _ in range(CONTEXT + SPAN))
        self._model = model
        self._sequence = sequence_of(tokens, SamplingParams(temperature=0.0), blocks_for(len(tokens) + 1))
        prefill(model, self._sequence)
        self._num_steps = 0

    def step(self) -> float:
        """One token -> its seconds. Two steps in a row are at the same position."""
        position = CONTEXT + self._num_steps // 2 % SPAN
        self._num_steps += 1
        plan = StepPlan((Chunk(self._sequence, position, 1, samples=True),))
        begun_s = self._clock()
        self._model.runner.run(plan)
        return self._clock() - begun_s
