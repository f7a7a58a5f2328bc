"""Runs a prefill and some decodes of a model and has them explained. Knows no way to show the answer."""

from __future__ import annotations

import random
from pathlib import Path

from service.engine.blocks import blocks_for
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Request, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.errors import SettingsError
from service.explain import ExplainedOp, since
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.settings import Settings


def explain_file(path: Path, settings: Settings, prompt: int, gen: int) -> tuple[ExplainedOp, ...]:
    """A prefill of `prompt` tokens in one step, then `gen` decodes after it; the second of two runs is counted."""
    if prompt > settings.max_step_tokens:
        raise SettingsError(f"a prompt of {prompt} tokens; a step holds {settings.max_step_tokens}")
    model = load_model(path, settings)
    try:
        if prompt + gen > model.max_context:
            raise SettingsError(f"{prompt} + {gen} tokens; the model's context holds {model.max_context}")
        _run(model, prompt, gen)
        before = model.kernel_stats()
        _run(model, prompt, gen)
        return model.explain(since(before, model.kernel_stats()))
    finally:
        model.close()


def _run(model: GemmuleModel, prompt: int, gen: int) -> None:
    draw = random.Random(prompt)
    tokens = tuple(draw.randrange(model.vocab_size) for _ in range(prompt))
    request = Request(id="explain", prompt_ids=tokens, sampling=SamplingParams(temperature=0.0), arrival_s=0.0)
    sequence = TokenSequence(request, rank=(0.0, 0), max_tokens=1, seed=0)
    sequence.block_table = list(range(blocks_for(prompt + gen)))
    model.runner.run(StepPlan((Chunk(sequence, 0, prompt, samples=True),)))
    for start in range(prompt, prompt + gen):
        sequence.token_ids.append(draw.randrange(model.vocab_size))
        model.runner.run(StepPlan((Chunk(sequence, start, 1, samples=True),)))
