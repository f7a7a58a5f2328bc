"""The program's logits against plain NumPy, for every weight type and shape of a llama model.

Two oracles. The one in f32 says that the model computes the right thing: it differs by the activations, which are
rounded to int8, d = amax / 127 for each block of 32. For normal numbers amax is about 2.4 deviations, so a product's
error is 2.4 / 127 / sqrt(12) = 0.54 % of it, and 9 products (two layers and the logits) that add up independently
give 1.6 %. Softmax over hot scores and SwiGLU's heavy tails make it more: measured 2.6 to 3.1 %. The bound is a cosine
of 0.999, an error of 4.5 %. Float weights see f32 activations; keys and values in f16 remain, 2^-12 each.

The one that makes the same roundings says that every bit is where it should be: float additions in another order
differ by a few 1e-7. Now and then that moves an activation across the middle between two integers (about once in 1e4
tokens of these models), an error of 1 % of a product which all that follows inherits; between two f16 it is 0.05 % of a
key or value, more often. Short sequences keep this apart: most agree but for additions, none is off by more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from service.gemmule_model import GemmuleModel
from tests.oracle import F32, oracle_logits
from tests.service.model.driver import cut, every_position, sequence, step
from tests.service.model.rounding_oracle import BLOCKS, QUANTISED, SUPER_BLOCKS, RoundingOracle

TYPES = (*BLOCKS, "F16", "BF16", "F32")
OF_256 = {"embedding": 256, "ffn": 512, "num_layers": 1, "heads": 4, "kv_heads": 2, "head_dim": 64}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "gqa 3:1": {"heads": 6, "kv_heads": 2},
    "one head each": {"heads": 4, "kv_heads": 4},
    "multi-query": {"heads": 8, "kv_heads": 1},
    "head of 64": {"heads": 2, "kv_heads": 1, "head_dim": 64},
    "half rotated": {"head_dim": 32, "rope_dim": 16},
    "one layer": {"num_layers": 1, "embedding": 32, "ffn": 32, "heads": 2, "kv_heads": 1},
    "wide": {"embedding": 160, "ffn": 416, "heads": 5, "kv_heads": 5, "head_dim": 32},
    "rows of 2 KiB": {"embedding": 512, "ffn": 256, "heads": 4, "kv_heads": 2, "head_dim": 64, "num_layers": 1},
    "slow rotation": {"rope_freq_base": 100_000.0, "rms_epsilon": 1e-3},
}
MIXED: Mapping[str, Mapping[str, Any]] = {
    "demo model": {"weight_type": "Q4_1", "embedding_type": "Q8_0"},
    "own output of another type": {"weight_type": "Q4_0", "tied": False, "output_type": "Q8_0"},
    "float embedding": {"weight_type": "Q4_0", "embedding_type": "F16"},
    "float layers": {"weight_type": "F16", "embedding_type": "Q8_0"},
    "side by side": {"weight_type": "Q4_0", "types": {"attn_k": "Q4_1", "attn_v": "Q8_0", "ffn_up": "Q8_0"}},
    "down": {"weight_type": "Q4_0", "types": {"ffn_down": "Q4_1", "attn_output": "F16"}},
    "Q5_0 and Q8_0, as Gemma's Q4_K_M": {"weight_type": "Q5_0", "types": {"attn_v": "Q8_0", "ffn_down": "Q8_0"}},
    "Q4_K_M": {
        **OF_256,
        "weight_type": "Q4_K",
        "embedding_type": "Q6_K",
        "types": {"attn_v": "Q6_K", "ffn_down": "Q6_K", "attn_k": "Q5_0", "ffn_up": "Q8_0"},
    },
    "quantised and floats": {"weight_type": "Q4_0", "types": {"attn_k": "F16", "ffn_gate": "F32"}},
    "floats side by side": {"weight_type": "F16", "types": {"attn_v": "F32", "ffn_gate": "BF16"}},
}
RUNGS = [rung.name for rung in rungs_for(detect_cpu(), None)]

ModelOf = Callable[..., GemmuleModel]
PathOf = Callable[..., Path]


def token_ids(seed: int, count: int) -> list[int]:
    made: list[int] = np.random.default_rng(seed).integers(3, 379, count).tolist()
    return made


def cosine(a: F32, b: F32) -> float:
    wide_a, wide_b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(wide_a @ wide_b / np.sqrt((wide_a @ wide_a) * (wide_b @ wide_b)))


def errors(ours: F32, expected: F32) -> F32:
    """f32[T, V] -> f32[T]: distance over length, of each position."""
    made: F32 = np.linalg.norm(ours - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return made


def check(model: GemmuleModel, path: Path) -> None:
    check_against_f32(model, path)
    check_against_rounding(model, path)


def check_against_f32(model: GemmuleModel, path: Path) -> None:
    prompt = token_ids(1, 170)
    ours, expected = every_position(model, prompt), oracle_logits(path, prompt)
    rounds = any(packed.matrix.choice.family.source in QUANTISED for packed in model.weights.matrices())
    assert cosine(ours, expected) >= (0.999 if rounds else 0.99999)
    # Where the best token leads clearly, it is the same.
    best, next_best = np.sort(expected, axis=1)[:, :-3:-1].T
    clear = best - next_best > (1.0 if rounds else 0.05)
    assert clear.sum() > 30
    np.testing.assert_array_equal(ours.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])


def check_against_rounding(model: GemmuleModel, path: Path) -> None:
    oracle = RoundingOracle(path)
    prompts = [token_ids(100 + index, 6) for index in range(32)]
    chunks = [chunk for i, ids in enumerate(prompts) for chunk in cut(sequence(ids, [i]), 1)]
    ours = step(model, *chunks)[0].reshape(32, 6, -1)
    worst = np.array([errors(mine, oracle.logits(ids)).max() for mine, ids in zip(ours, prompts, strict=True)])
    rounds = any(name in QUANTISED for name in oracle.types.values())
    typical, most = (1e-6, 0.06) if rounds else (1e-4, 5e-3)
    assert np.median(worst) <= typical, f"not rounded as it should be: {np.sort(worst)}"
    assert worst.max() <= most


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("weight_type", TYPES)
def test_types(model_of: ModelOf, tiny_gguf_of: PathOf, weight_type: str, tied: bool) -> None:
    arguments = {"weight_type": weight_type, "tied": tied}
    check(model_of(**arguments), tiny_gguf_of(**arguments))


@pytest.mark.parametrize("weight_type", SUPER_BLOCKS)
def test_super_blocks(model_of: ModelOf, tiny_gguf_of: PathOf, weight_type: str) -> None:
    arguments = {"weight_type": weight_type, **OF_256}
    check(model_of(**arguments), tiny_gguf_of(**arguments))


@pytest.mark.parametrize("weight_type", ["Q4_1", "F16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(model_of: ModelOf, tiny_gguf_of: PathOf, weight_type: str, shape: str) -> None:
    arguments = {"weight_type": weight_type, **SHAPES[shape]}
    check(model_of(**arguments), tiny_gguf_of(**arguments))


@pytest.mark.parametrize("mixture", MIXED)
def test_mixed_types(model_of: ModelOf, tiny_gguf_of: PathOf, mixture: str) -> None:
    check(model_of(**MIXED[mixture]), tiny_gguf_of(**MIXED[mixture]))


@pytest.mark.parametrize("weight_type", [*TYPES, "Q4_K", "Q6_K"])
def test_all_rungs_give_the_same_bits(model_of: ModelOf, weight_type: str) -> None:
    """Of this CPU's ladder, down to scalar: which one ran cannot be seen in the logits."""
    prompt = token_ids(2, 140)
    arguments = {"weight_type": weight_type, "tied": False, **(OF_256 if weight_type in SUPER_BLOCKS else {})}
    expected = every_position(model_of(isa="scalar", **arguments), prompt)
    for isa in RUNGS[:-1]:
        model = model_of(isa=isa, **arguments)
        assert not any(
            packed.matrix.choice.rung.name in RUNGS[: RUNGS.index(isa)] for packed in model.weights.matrices()
        )
        np.testing.assert_array_equal(every_position(model, prompt).view(np.uint32), expected.view(np.uint32))


def test_floats_need_no_blocks_of_32(model_of: ModelOf, tiny_gguf_of: PathOf) -> None:
    """An embedding of 48, feed-forward of 80, three KV heads of 16."""
    arguments = {"weight_type": "F16", "embedding": 48, "ffn": 80, "heads": 3, "kv_heads": 3}
    check(model_of(**arguments), tiny_gguf_of(**arguments))
