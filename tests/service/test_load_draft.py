"""A model with one that guesses for it: one team, one budget of KV memory, and a vocabulary that has to be the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import TokenType
from pydantic import ByteSize

from service.errors import SettingsError
from service.load_draft import load_alone
from service.settings import Settings
from tests.service.test_loader import nothing_left

PathOf = Callable[..., Path]


def settings_of(model: Path, draft: Path, **changes: object) -> Settings:
    values = {"model": str(model), "draft_model": str(draft), "threads": 3, "max_batch": 2, "max_step_tokens": 16}
    return Settings.model_validate({**values, **changes})


def test_they_share_the_team_and_the_memory(tiny_gguf_of: PathOf) -> None:
    before = threading.active_count()
    settings = settings_of(tiny_gguf_of(), tiny_gguf_of(num_layers=1, seed=1))
    model = load_alone(settings)
    assert threading.active_count() == before + 2, "a team of three, with the one that runs a step"
    draft = model.draft
    assert draft is not None
    both = (model, draft)
    own_bytes, draft_bytes = (each.kv.layout.num_bytes // each.num_blocks for each in both)
    assert draft_bytes == own_bytes // 2, "a layer instead of two"
    assert any(line.startswith("draft kv ") for line in model.description())
    assert any(line.startswith("draft model ") for line in model.description())
    facts = model.machine_facts()
    assert facts.draft is not None
    assert facts.draft.kv_bytes == draft.kv.layout.num_bytes
    assert facts.load_s["draft_model"] > 0
    model.close()
    assert threading.active_count() == before
    budget = 5 * (own_bytes + draft_bytes) + draft_bytes
    model = load_alone(settings.model_copy(update={"kv_memory": ByteSize(budget)}))
    assert model.draft is not None
    assert [model.num_blocks, model.draft.num_blocks] == [5, 5]
    model.close()
    with pytest.raises(SettingsError, match=f"less than a block of 32 tokens: {own_bytes + draft_bytes} bytes"):
        load_alone(settings.model_copy(update={"kv_memory": ByteSize(own_bytes)}))


def test_load_and_close_leave_nothing(tiny_gguf_of: PathOf) -> None:
    settings = settings_of(tiny_gguf_of(), tiny_gguf_of(seed=1))
    load_alone(settings).close()
    with nothing_left():
        model = load_alone(settings)
        model.close()
        model.close()  # twice is fine
        del model


def test_its_context_may_be_shorter(tiny_gguf_of: PathOf) -> None:
    model = load_alone(settings_of(tiny_gguf_of(), tiny_gguf_of(context=64), ctx=128))
    assert model.draft is not None
    assert (model.max_context, model.draft.max_context) == (128, 64)
    assert (model.num_blocks, model.draft.num_blocks) == (8, 4)
    model.close()


def test_another_vocabulary_is_refused(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    own = tiny_gguf_of()
    longer = tiny_gguf_of(extra_tokens=(("<|more|>", TokenType.CONTROL),))
    other = tiny_gguf_of(extra_tokens=(("<|most|>", TokenType.CONTROL),))
    kind = tmp_path / "kind.gguf"
    kind.write_bytes(own.read_bytes().replace(b"gpt2", b"bert", 1))
    for model, draft, reason in (
        (own, longer, f"the number of tokens is 379 in {own.name} and 380 in {longer.name}"),
        (longer, other, f"token 379 is '<|more|>' in {longer.name} and '<|most|>' in {other.name}"),
        (own, kind, f"the kind of tokenizer is 'gpt2' in {own.name} and 'bert' in {kind.name}"),
    ):
        with nothing_left():
            assert refusal(settings_of(model, draft)) == f"the draft model needs the model's vocabulary: {reason}"


def refusal(settings: Settings) -> str:
    """The message alone: an exception holds the frames that it passed."""
    with pytest.raises(SettingsError) as refused:
        load_alone(settings)
    return str(refused.value)
