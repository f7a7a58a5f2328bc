"""A model on its own, or with a smaller one that guesses for it: one team of threads, one budget for both KV caches."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path

from pydantic import ByteSize

from kernels.attention.variants import kv_type_of
from kernels.runtime.team import Team
from service.errors import SettingsError
from service.gemmule_model import GemmuleModel
from service.gguf.reader import GGUFFile, open_gguf
from service.loader import ladder, load_model, num_threads
from service.model.config import read_config
from service.model.kv_cache import block_layout
from service.pull import resolve_model
from service.settings import Settings
from service.tokenizer.vocabulary import difference


def load_alone(settings: Settings, *, measures_peaks: bool = False) -> GemmuleModel:
    """The only model that is served, with its draft model if there is one. Raises what `load_model` raises."""
    path = resolve_model(settings.model, settings.cache)
    if settings.draft_model is None:
        return load_model(path, settings, measures_peaks=measures_peaks)
    return _load_both(path, resolve_model(settings.draft_model, settings.cache), settings, measures_peaks)


def _load_both(path: Path, draft_path: Path, settings: Settings, measures_peaks: bool) -> GemmuleModel:
    """Each block of the target's KV cache has one of the draft model's beside it, as far as its context goes."""
    with open_gguf(path) as file, open_gguf(draft_path) as draft_file:
        _check_vocabularies(file, draft_file)
        draft_config = read_config(draft_file.metadata)
    block_bytes = block_layout(draft_config, kv_type_of(settings.kv_type, ladder(settings))).num_bytes
    with ExitStack() as opened:
        team = opened.enter_context(Team(num_threads(settings)))
        target = load_model(path, settings, measures_peaks=measures_peaks, team=team, beside_block_bytes=block_bytes)
        opened.callback(target.close)
        begun_s = time.perf_counter()
        changes = {
            "ctx": min(target.max_context, draft_config.context),
            "kv_memory": ByteSize(target.num_blocks * block_bytes),
        }
        draft = load_model(draft_path, settings.model_copy(update=changes), team=team)
        load_s = {**target.load_s, "draft_model": time.perf_counter() - begun_s}
        opened.pop_all()

    def close_the_rest() -> None:
        draft.close()
        team.close()

    return dataclasses.replace(target, draft=draft, load_s=load_s, on_close=close_the_rest)


def _check_vocabularies(file: GGUFFile, draft_file: GGUFFile) -> None:
    """A guess is a token id: it has to mean the same to both. Raises SettingsError with the first difference."""
    differs = difference(file.metadata, draft_file.metadata)
    if differs is not None:
        what, own, other = differs
        raise SettingsError(
            f"the draft model needs the model's vocabulary: {what} is {own} in {file.path.name} "
            f"and {other} in {draft_file.path.name}"
        )
