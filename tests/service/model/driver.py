"""Drives a loaded model step by step, past the engine: token ids in, logits of any position out. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.engine.blocks import blocks_for
from service.engine.plan import Chunk, StepPlan
from service.engine.request import FailedRow, Request, SampledToken, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.gemmule_model import GemmuleModel

F32 = npt.NDArray[np.float32]
GREEDY = SamplingParams(temperature=0.0)


def sequence(
    token_ids: Sequence[int],
    block_ids: Sequence[int] | None = None,
    *,
    sampling: SamplingParams = GREEDY,
    seed: int = 0,
    num_output: int = 0,
) -> TokenSequence:
    """A sequence in the given blocks (default: 0, 1, ...); its last `num_output` tokens count as output."""
    num_prompt = len(token_ids) - num_output
    request = Request(id="driven", prompt_ids=tuple(token_ids[:num_prompt]), sampling=sampling, arrival_s=0)
    made = TokenSequence(request, rank=(0.0, 0), max_tokens=1, seed=seed)
    made.token_ids = list(token_ids)
    made.block_table = list(block_ids or range(blocks_for(len(token_ids) + 1)))
    return made


def step(model: GemmuleModel, *chunks: Chunk) -> tuple[F32, Sequence[SampledToken | FailedRow]]:
    """One step -> logits f32[R, V] and a token for each of the R chunks that sample."""
    plan = StepPlan(chunks)
    tokens = model.runner.run(plan)
    program = model.executor.program
    logits: F32 = program.view(program.buffers["logits"])[: plan.num_logit_rows].copy()
    return logits, tokens


def cut(tokens: TokenSequence, size: int, start: int = 0) -> list[Chunk]:
    """The sequence from `start` on in chunks of `size` tokens, the last one what is left; each samples."""
    end = len(tokens.token_ids)
    return [Chunk(tokens, at, min(size, end - at), samples=True) for at in range(start, end, size)]


def every_position(model: GemmuleModel, token_ids: Sequence[int], block_ids: Sequence[int] | None = None) -> F32:
    """Logits of every position of one sequence -> f32[T, V].

    A step takes one row of logits a chunk, but many chunks of one sequence: each token is a chunk of its own, and
    within a layer all keys and values of a step are in the cache before the first query looks at them.
    """
    chunks = cut(sequence(token_ids, block_ids), 1)
    most = min(model.limits.max_batch, model.limits.max_tokens)
    return np.concatenate([step(model, *chunks[at : at + most])[0] for at in range(0, len(chunks), most)])


def cached(model: GemmuleModel, tokens: TokenSequence) -> npt.NDArray[np.uint8]:
    """Keys and values of the sequence's blocks, as they lie -> u8[blocks, layers, bytes]"""
    layout = model.kv.layout
    return model.kv.data.reshape(layout.num_blocks, layout.num_layers, layout.layer_bytes)[tokens.block_table]
