"""A model's step explained: every op once, packings as they are, costs that add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.explain import ExplainedOp, lines
from service.explain_steps import explain_file
from service.loader import load_model
from service.settings import Settings

PathOf = Callable[..., Path]
SETTINGS = Settings(threads=2, max_batch=1, max_step_tokens=32)
PROMPT, GEN = 20, 3


@pytest.fixture(scope="module")
def ops(tiny_gguf_of: PathOf) -> tuple[ExplainedOp, ...]:
    return explain_file(tiny_gguf_of(), SETTINGS, PROMPT, GEN)


def test_the_ops_of_a_step_in_order(ops: tuple[ExplainedOp, ...]) -> None:
    names = [op.op for op in ops]
    assert names[0] == "embed"
    assert names.index("attn_qkv") < names.index("attention") < names.index("ffn_down") < names.index("output")
    (attention,) = (op for op in ops if op.op == "attention")
    (norm, later) = (op for op in ops if op.op == "attn_norm")
    assert norm.count + later.count == attention.count, "the first layer's norm has nothing to add"


def test_packing_is_that_of_the_weights(ops: tuple[ExplainedOp, ...], tiny_gguf_of: PathOf) -> None:
    model = load_model(tiny_gguf_of(), SETTINGS)
    try:
        packed, source = model.weights.packed_bytes, sum(m.matrix.source_bytes for m in model.weights.matrices())
    finally:
        model.close()
    packings = [op.packing for op in ops if op.packing is not None]
    assert sum(packing.packed_bytes for packing in packings) == packed
    assert sum(packing.source_bytes for packing in packings) == source
    assert all(packing.reason and packing.layout for packing in packings)
    assert {op.op for op in ops if op.packing} == {"attn_qkv", "attn_output", "ffn_gate_up", "ffn_down", "output"}


def test_costs_of_one_step(ops: tuple[ExplainedOp, ...]) -> None:
    for phase in ("prefill", "decode"):
        costs = [getattr(op, phase) for op in ops]
        assert sum(cost.share for cost in costs) == pytest.approx(1)
        for op, cost in zip(ops, costs, strict=True):
            assert cost.calls == op.count, f"{op.op} in {phase}"
    (down,) = (op for op in ops if op.op == "ffn_down")
    assert down.packing is not None
    ((n, k),) = down.packing.shapes
    assert down.prefill.operations == 2 * PROMPT * n * k * down.count
    assert down.decode.operations == 2 * n * k * down.count
    assert down.prefill.kernel != down.decode.kernel
    (output,) = (op for op in ops if op.op == "output")
    assert output.prefill.kernel == output.decode.kernel, "a prefill samples one row"


def test_lines_and_json(ops: tuple[ExplainedOp, ...]) -> None:
    text = "\n".join(lines(ops))
    assert "x the file's bytes" in text
    assert all(op.decode.kernel in text for op in ops)
    assert json.loads(json.dumps([asdict(op) for op in ops]))[0]["op"] == "embed"


def test_more_than_a_step_or_the_context_holds(tiny_gguf_of: PathOf) -> None:
    with pytest.raises(SettingsError, match="a step holds 32"):
        explain_file(tiny_gguf_of(), SETTINGS, 33, 1)
    with pytest.raises(SettingsError, match="the model's context holds"):
        explain_file(tiny_gguf_of(), SETTINGS, 20, 100_000)


def test_a_model_that_has_run_nothing_but_its_warm_up_is_explained(tiny_gguf_of: PathOf) -> None:
    model = load_model(tiny_gguf_of(), SETTINGS)
    try:
        assert sum(op.decode.share for op in model.explain()) == pytest.approx(1)
        assert sum(op.decode.share for op in model.explain([])) == 0
    finally:
        model.close()
