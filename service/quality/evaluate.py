"""`gemmule eval`: a model on a text, alone or beside a reference, window by window. Knows no presentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.engine.blocks import blocks_for
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Request, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.errors import SettingsError
from service.gemmule_model import GemmuleModel
from service.gguf.reader import open_gguf
from service.loader import load_model
from service.quality.measures import F32, Divergence, Prediction, log_probabilities
from service.quality.report import Quality
from service.quality.saved_logits import LogitReader, LogitWriter
from service.quality.windows import Window, cut_windows
from service.settings import Settings

LOGIT_ROOM = 1 << 24  # logits that are held at a time
MAX_ROWS = 256
MIN_CONTEXT = 32


@dataclass(frozen=True, slots=True)
class Wishes:
    """`context`: tokens of a window; `most`: windows at most. One of `reference` and `logits` at most."""

    text: Path
    context: int = 512
    most: int | None = None
    reference: Path | None = None
    logits: Path | None = None
    save: Path | None = None


def evaluate(path: Path, wishes: Wishes, settings: Settings, progress: Callable[[int, int], None]) -> Quality:
    """`progress(done, windows)` after each window. Raises SettingsError for a text that fills no window."""
    if wishes.context < MIN_CONTEXT:
        raise SettingsError(f"ctx={wishes.context}; a window has at least {MIN_CONTEXT} tokens")
    if wishes.reference is not None and wishes.logits is not None:
        raise SettingsError("a reference model or saved logits, not both")
    try:
        text = wishes.text.read_text()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{wishes.text} is no UTF-8: {error.reason} at byte {error.start}") from None
    with ExitStack() as opened:
        model = _load(path, wishes, settings, opened)
        windows = read_windows(model, text, wishes)
        reference = _reference(wishes, windows, model, settings, opened)
        writer = (
            None if wishes.save is None else opened.enter_context(LogitWriter(wishes.save, windows, model.vocab_size))
        )
        ours, theirs, divergence = Prediction(), Prediction(), Divergence()
        for done, window in enumerate(windows):
            for first, logits in scored_logits(model, window):
                next_ids = window.next_ids[first : first + len(logits)]
                log_p = log_probabilities(logits)
                ours.add(log_p, next_ids)
                if writer is not None:
                    writer.add(logits)
                if reference is not None:
                    expected = log_probabilities(reference(window, first, len(logits)))
                    theirs.add(expected, next_ids)
                    divergence.add(log_p, expected)
            progress(done + 1, len(windows))
    if reference is None:
        return Quality(model.name, len(windows), ours.num_tokens, ours.perplexity, None, None, None, None, None, None)
    kl = divergence.kl
    return Quality(
        model.name,
        len(windows),
        ours.num_tokens,
        ours.perplexity,
        theirs.perplexity,
        divergence.mean_kl,
        float(np.median(kl)),
        float(np.quantile(kl, 0.99)),
        float(kl.max()),
        divergence.same_best,
    )


def read_windows(model: GemmuleModel, text: str, wishes: Wishes) -> list[Window]:
    tokenizer = model.tokenizer
    ids = tokenizer.encode(text)
    bos_id = tokenizer.bos_id if tokenizer.add_bos else None
    windows = list(cut_windows(ids, wishes.context, bos_id, wishes.most))
    if not windows:
        raise SettingsError(f"{wishes.text} has {len(ids)} tokens; a window has {wishes.context}: pass a smaller --ctx")
    return windows


def scored_logits(model: GemmuleModel, window: Window) -> Iterator[tuple[int, F32]]:
    """The number of the first scored position, and f32[rows, V] of it and those that follow, until all have come."""
    request = Request(id="eval", prompt_ids=tuple(window.ids), sampling=SamplingParams(temperature=0.0), arrival_s=0.0)
    sequence = TokenSequence(request, rank=(0.0, 0), max_tokens=1, seed=0)
    sequence.token_ids = window.ids.tolist()
    sequence.block_table = list(range(blocks_for(len(window.ids))))
    program, limits = model.executor.program, model.limits
    view = program.view(program.buffers["logits"])
    for start in range(0, window.first, limits.max_tokens):
        count = min(limits.max_tokens, window.first - start)
        model.runner.run(StepPlan((Chunk(sequence, start, count, samples=False),)))
    for first in range(0, window.num_scored, limits.max_batch):
        count = min(limits.max_batch, window.num_scored - first)
        # A step gives one row of logits a chunk, but takes many chunks of one sequence.
        positions = range(window.first + first, window.first + first + count)
        model.runner.run(StepPlan(tuple(Chunk(sequence, at, 1, samples=True) for at in positions)))
        yield first, view[:count].copy()


def _load(path: Path, wishes: Wishes, settings: Settings, opened: ExitStack) -> GemmuleModel:
    """With room for as many rows of logits as memory shall hold."""
    with open_gguf(path) as file:
        embedding = file.tensors.get("token_embd.weight")
        vocab = 1 if embedding is None else embedding.num_rows
    rows = max(1, min(MAX_ROWS, LOGIT_ROOM // vocab))
    sized = settings.model_copy(update={"ctx": wishes.context, "max_batch": rows, "max_step_tokens": 512})
    model = load_model(path, sized)
    opened.callback(model.close)
    return model


def _reference(
    wishes: Wishes, windows: Sequence[Window], model: GemmuleModel, settings: Settings, opened: ExitStack
) -> Callable[[Window, int, int], F32] | None:
    """Gives the reference's logits of a window's scored positions, asked for in order. Its cache is f32."""
    if wishes.logits is not None:
        reader = opened.enter_context(LogitReader(wishes.logits, windows, model.vocab_size))
        return lambda window, first, count: reader.read(count)
    if wishes.reference is None:
        return None
    other = _load(wishes.reference, wishes, settings.model_copy(update={"kv_type": "f32"}), opened)
    if other.tokenizer.vocabulary.tokens != model.tokenizer.vocabulary.tokens:
        raise SettingsError(f"{wishes.reference.name} and {model.name} have different vocabularies")
    held: dict[int, F32] = {}

    def logits(window: Window, first: int, count: int) -> F32:
        if first == 0:
            held.clear()
            held[0] = np.concatenate([rows for _, rows in scored_logits(other, window)])
        return held[0][first : first + count]

    return logits
