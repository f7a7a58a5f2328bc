"""Autotune as a part of a start: asked for once, never if it is not wanted, and no answer depends on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kernels.autotune.task import LEAST_ELEMENTS
from kernels.autotune.tuner import Tuning
from service.explain import lines
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.metrics.machine import MachineCollector
from service.settings import Settings, load_settings
from tests.service.model.driver import cut, sequence, step

PathOf = Callable[..., Path]


@pytest.fixture(scope="module")
def path(tiny_gguf_of: PathOf) -> Path:
    """Large enough for autotune to look at its matrices."""
    return tiny_gguf_of(embedding=256, ffn=512, heads=4, kv_heads=4, head_dim=64)


def load(path: Path, autotune: bool) -> GemmuleModel:
    return load_model(path, Settings(threads=2, max_batch=2, max_step_tokens=64, autotune=autotune))


def tiles(model: GemmuleModel) -> list[tuple[str, str, str, str]]:
    choices = [packed.matrix.choice for packed in model.weights.matrices()]
    return [(str(c.gemm.name), c.gemm_reason, str(c.gemv.name), c.gemv_reason) for c in choices]


def result_label(model: GemmuleModel) -> str:
    families = {family.name: family for family in MachineCollector(model.machine_facts()).collect()}
    (sample,) = families["gemmule_autotune_info"].samples
    return sample.labels["result"]


def test_a_second_start_remembers_the_first(path: Path) -> None:
    first = load(path, autotune=True)
    second = load(path, autotune=True)
    has_choice = any(matrix.matrix.n * matrix.matrix.k >= LEAST_ELEMENTS for matrix in first.weights.matrices())
    assert has_choice
    if first.tuning is not Tuning.STATIC:  # this CPU's rung has candidates
        assert first.tuning in (Tuning.MEASURED, Tuning.REMEMBERED)
        assert second.tuning is Tuning.REMEMBERED
    assert tiles(second) == tiles(first)
    assert second.library.num_compiled == 0
    assert "tune" in second.load_s
    assert result_label(second) == second.tuning.value
    first.close()
    second.close()


def test_without_autotune_the_static_choice_serves(path: Path) -> None:
    model = load(path, autotune=False)
    assert model.tuning is Tuning.OFF
    for packed in model.weights.matrices():
        choice = packed.matrix.choice
        assert choice.gemm == choice.family.gemms_beside(choice.gemm)[0]
        assert choice.gemv == choice.family.gemvs_beside(choice.gemm)[0]
        assert choice.gemm_reason == choice.gemv_reason == "static"
    assert result_label(model) == "off"
    assert "tiles    GEMM static; GEMV static" in "\n".join(lines(model.explain()))
    assert all("(static)" in line for line in model.description() if " GEMM " in line)
    model.close()


def test_answers_are_the_same_bits(path: Path) -> None:
    tuned, static = load(path, autotune=True), load(path, autotune=False)
    prompt = sequence(range(3, 40))
    for size in (37, 5, 1):
        for chunk in cut(prompt, size):
            logits, tokens = step(tuned, chunk)
            expected_logits, expected_tokens = step(static, chunk)
            assert logits.tobytes() == expected_logits.tobytes()
            assert tokens == expected_tokens
    tuned.close()
    static.close()


def test_the_setting() -> None:
    assert Settings().autotune
    assert not load_settings({}, {"GEMMULE_AUTOTUNE": "false"}).autotune
    assert load_settings({"autotune": True}, {"GEMMULE_AUTOTUNE": "0"}).autotune, "flags win"
