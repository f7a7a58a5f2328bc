"""Every architecture's program against plain NumPy; what none of them is, is refused.

The bounds are those of test_logits.py, which has llama in all its types and shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ModelFileError
from service.gemmule_model import GemmuleModel
from service.model.architectures import ARCHITECTURES, architecture_of
from tests.service.model.driver import every_position
from tests.service.model.test_logits import check, token_ids

ModelOf = Callable[..., GemmuleModel]
PathOf = Callable[..., Path]

WIDE_HEADS: Mapping[str, Any] = {"heads": 3, "kv_heads": 1, "head_dim": 32}  # 96 columns of an embedding of 64
WINDOWS: Mapping[str, Any] = {"attention.sliding_window": 24}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "llama with biases": {"architecture": "llama", "biases": ("attn_q", "attn_v", "attn_output", "ffn_up", "ffn_down")},
    "llama 3.1": {"architecture": "llama", "factors": ("rope_freqs",), "rope_freq_base": 500_000.0},
    "llama, linear": {
        "architecture": "llama",
        "numbers": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    },
    "llama, yarn": {
        "architecture": "llama",
        "numbers": {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 64,
        },
    },
    "qwen2": {"architecture": "qwen2", "biases": ("attn_q", "attn_k", "attn_v")},
    "qwen3": {"architecture": "qwen3", "head_norms": True, **WIDE_HEADS},
    "gemma": {"architecture": "gemma", **WIDE_HEADS},
    "gemma2": {
        "architecture": "gemma2",
        "post_norms": True,
        "numbers": {**WINDOWS, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 12.0},
        **WIDE_HEADS,
    },
    "gemma3": {
        "architecture": "gemma3",
        "head_norms": True,
        "post_norms": True,
        "rope_freq_base": 1e6,
        "num_layers": 3,
        "numbers": {**WINDOWS, "attention.sliding_window_pattern": 3},
        **WIDE_HEADS,
    },
    "phi3": {"architecture": "phi3", "fused": True},
    "phi3 long": {
        "architecture": "phi3",
        "fused": True,
        "rope_dim": 12,
        "factors": ("rope_factors_long", "rope_factors_short"),
        "numbers": {
            "rope.scaling.type": "longrope",
            "rope.scaling.attn_factor": 1.2,
            "rope.scaling.original_context_length": 64,
        },
    },
}


@pytest.mark.parametrize("weight_type", ["Q8_0", "F32"])
@pytest.mark.parametrize("name", MODELS)
def test_against_numpy(model_of: ModelOf, tiny_gguf_of: PathOf, name: str, weight_type: str) -> None:
    arguments = {"weight_type": weight_type, **MODELS[name]}
    check(model_of(**arguments), tiny_gguf_of(**arguments))


def test_every_architecture_is_tried() -> None:
    assert {arguments["architecture"] for arguments in MODELS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_rungs_and_threads_change_no_bit(model_of: ModelOf, name: str) -> None:
    arguments = {"weight_type": "Q8_0", **MODELS[name]}
    prompt = token_ids(2, 140)
    expected = every_position(model_of(isa="scalar", **arguments), prompt)
    np.testing.assert_array_equal(every_position(model_of(threads=2, **arguments), prompt), expected)


@pytest.mark.parametrize("name", ["mamba", ["llama"], None, "x" * 100_000])
def test_an_unknown_architecture_is_named_and_the_known_are_listed(name: object) -> None:
    with pytest.raises(ModelFileError, match="supported are llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3") as error:
        architecture_of({"general.architecture": name})
    assert len(str(error.value)) < 200
