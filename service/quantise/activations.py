"""What a model multiplies its matrices with, on a text: the second moments of each matmul's inputs. Rounds nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from service.engine.blocks import blocks_for
from service.engine.model_runner import ModelRunner
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Request, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.gemmule_model import GemmuleModel
from service.gguf.reader import TensorInfo
from service.quantise.watched_executor import Floats, WatchedExecutor


def second_moments(
    model: GemmuleModel, windows: Iterable[npt.NDArray[np.int64]], wanted: Collection[str]
) -> dict[str, Floats]:
    """By the name of a tensor: f32[K, K], the sum of x x^T over its inputs x, of all positions of the windows, each of
    which is a text for itself. Tensors of one matmul share the array.
    """
    sums: dict[int, Floats] = {}
    moments: dict[str, Floats] = {}

    def add(op: int, rows: Floats) -> None:
        if op in sums:
            sums[op] += rows.T @ rows

    watched = WatchedExecutor(model.executor, add)
    for op, tensors in zip(watched.packs, _layer_tensors(model), strict=True):
        if any(tensor.name in wanted for tensor in tensors):
            k = tensors[0].row_elements
            sums[op] = np.zeros((k, k), np.float32)
            moments.update((tensor.name, sums[op]) for tensor in tensors)
    limits = model.limits
    runner = ModelRunner(watched, limits.max_tokens, limits.max_batch, limits.max_context)
    try:
        for window in windows:
            for plan in _plans(window.tolist(), limits.max_tokens):
                runner.run(plan)
    finally:
        runner.close()
    return moments


def moment_bytes(model: GemmuleModel, wanted: Collection[str]) -> int:
    """What `second_moments` takes."""
    asked = (tensors for tensors in _layer_tensors(model) if any(tensor.name in wanted for tensor in tensors))
    return sum(4 * tensors[0].row_elements ** 2 for tensors in asked)


def _layer_tensors(model: GemmuleModel) -> Iterator[list[TensorInfo]]:
    """Those of each matmul but the logits', in the order of a step."""
    for matmul in model.weights.matmuls[:-1]:
        yield [tensor for packed in matmul.matrices for tensor in packed.matrix.tensors]


def _plans(token_ids: list[int], max_tokens: int) -> Iterator[StepPlan]:
    request = Request(
        id="moments", prompt_ids=tuple(token_ids), sampling=SamplingParams(temperature=0.0), arrival_s=0.0
    )
    sequence = TokenSequence(request, rank=(0.0, 0), max_tokens=1, seed=0)
    sequence.token_ids = token_ids
    sequence.block_table = list(range(blocks_for(len(token_ids))))
    for start in range(0, len(token_ids), max_tokens):
        yield StepPlan((Chunk(sequence, start, min(max_tokens, len(token_ids) - start), samples=False),))
