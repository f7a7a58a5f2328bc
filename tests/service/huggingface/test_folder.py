"""A folder becomes the GGUF file that it was made from: tensors, sizes, tokens, and so the logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ModelFileError
from service.gguf.reader import open_gguf
from service.loader import load_model
from service.quantise.recipe import Wish
from service.quantise.write import quantise
from service.settings import Settings
from tests.huggingface_folder import write_folder
from tests.oracle import dequantised
from tests.service.model.driver import every_position

PathOf = Callable[..., Path]
IDS = [5, 80, 200, 31, 7, 7, 100, 354, 9, 250]
OF_GEMMA = {"tied": True, "embedding": 64, "heads": 4, "kv_heads": 1}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"tied": False, "biases": ("attn_q", "attn_k", "attn_v", "attn_output")},
    "llama, tied, groups": {"heads": 6, "kv_heads": 2},
    "qwen2": {"architecture": "qwen2", "biases": ("attn_q", "attn_k", "attn_v")},
    "qwen3": {"architecture": "qwen3", "head_norms": True, "tied": False},
    "gemma": {"architecture": "gemma", **OF_GEMMA},
    "gemma2": {
        "architecture": "gemma2",
        **OF_GEMMA,
        "post_norms": True,
        "numbers": {"attention.sliding_window": 16, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 30.0},
    },
    "gemma3": {
        "architecture": "gemma3",
        **OF_GEMMA,
        "post_norms": True,
        "head_norms": True,
        "numbers": {"attention.sliding_window": 16},
    },
    "phi3": {"architecture": "phi3", "fused": True, "tied": False},
}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {"sliding_window": 16, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 30.0},
    "gemma3": {"sliding_window": 16},
}


def quiet(name: str, done: int, tensors: int) -> None:
    assert 1 <= done <= tensors


def converted(folder: Path, target: Path, kind: str = "f32") -> Path:
    quantise(folder, target, Wish(kind), quiet)
    return target


def logits(path: Path) -> np.ndarray:
    model = load_model(path, Settings(threads=1))
    try:
        return every_position(model, IDS)
    finally:
        model.close()


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model(tiny_gguf_of: PathOf, tmp_path: Path, name: str) -> None:
    source = tiny_gguf_of(weight_type="F32", **MODELS[name])
    made = converted(write_folder(source, tmp_path / "model", **CHANGES.get(name, {})), tmp_path / "made.gguf")
    with open_gguf(source) as before, open_gguf(made) as after:
        assert set(after.tensors) == set(before.tensors)
        for tensor in before.tensors:
            np.testing.assert_allclose(dequantised(after, tensor), dequantised(before, tensor), atol=1e-6)
        for key in before.metadata:
            if key not in ("general.name", "general.file_type", "tokenizer.ggml.unknown_token_id"):
                missing_is_default = key.endswith(("padding_token_id", "add_eos_token"))
                assert missing_is_default or after.metadata[key] == before.metadata[key], key
    np.testing.assert_allclose(logits(made), logits(source), atol=2e-4)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_halves_stay_as_they_are(tiny_gguf_of: PathOf, tmp_path: Path, dtype: str) -> None:
    """Queries change their order, and keep their bits."""
    source = tiny_gguf_of(weight_type=dtype)
    made = converted(write_folder(source, tmp_path / "model", dtype), tmp_path / "made.gguf", dtype.lower())
    with open_gguf(source) as before, open_gguf(made) as after:
        for name in ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_k.weight"):
            np.testing.assert_array_equal(after.data(name), before.data(name))
        assert after.tensors["output_norm.weight"].type.name == "F32"


def test_llama_3_scales_by_a_tensor(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    """Its fast frequencies stay, its slow ones are divided by the factor."""
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    folder = write_folder(tiny_gguf_of(weight_type="F32"), tmp_path / "model", rope_scaling=scaling)
    with open_gguf(converted(folder, tmp_path / "made.gguf")) as file:
        factors = dequantised(file, "rope_freqs.weight").reshape(-1)
    assert factors[0] == 1
    assert factors[-1] == 8
    assert (np.diff(factors) >= 0).all()
    load_model(tmp_path / "made.gguf", Settings(threads=1)).close()


def test_files_of_an_index(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    folder = write_folder(tiny_gguf_of(weight_type="F16"), tmp_path / "model", "F16")
    whole = folder / "model.safetensors"
    expected = converted(folder, tmp_path / "whole.gguf", "q8_0").read_bytes()
    header = json.loads(whole.read_bytes()[8 : 8 + int.from_bytes(whole.read_bytes()[:8], "little")])
    weight_map = dict.fromkeys(header, "model-00001-of-00001.safetensors")
    whole.rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert converted(folder, tmp_path / "indexed.gguf", "q8_0").read_bytes() == expected
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map | {"more": "../x"}}))
    with pytest.raises(ModelFileError, match=r"'../x' is no name of a safetensors file beside it"):
        converted(folder, tmp_path / "bad.gguf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not supported; llama, mistral"),
        ({"quantization_config": {"bits": 4}}, "weights that are quantised already"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; of llama silu is supported"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope scaling 'dynamic' is none of"),
        ({"num_attention_heads": "4"}, "num_attention_heads is '4'; it has to be a whole number"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"vocab_size": 300}, "token_embd.weight is of shape"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
    ],
)
def test_refusals(tiny_gguf_of: PathOf, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write_folder(tiny_gguf_of(weight_type="F32"), tmp_path / "model", **changes)
    with pytest.raises(ModelFileError) as caught:
        converted(folder, tmp_path / "out.gguf")
    assert message in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_a_tensor_without_a_place(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    folder = write_folder(tiny_gguf_of(weight_type="F32"), tmp_path / "model")
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw.replace(b"mlp.up_proj", b"mlp.odd_one"))
    with pytest.raises(ModelFileError, match=r"'model.layers.0.mlp.odd_one.weight' has no place in a llama"):
        converted(folder, tmp_path / "out.gguf")
