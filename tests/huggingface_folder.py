"""Writes a GGUF model of floats as a Hugging Face folder: the inverse of what service.huggingface does, on its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.gguf.reader import open_gguf
from tests.oracle import dequantised

NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "attn_norm": "input_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
PLAIN_NORMS = {"ffn_norm": "post_attention_layernorm"}
POST_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
MODEL_TYPES = {"gemma3": "gemma3_text"}


def write_folder(source: Path, folder: Path, dtype: str = "F32", **changes: Any) -> Path:
    """`dtype`: of all tensors; `changes`: of config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_gguf(source) as file:
        m, architecture = dict(file.metadata), str(file.metadata["general.architecture"])
        tensors = {name: dequantised(file, name) for name in file.tensors if name != "rope_freqs.weight"}

    def number(key: str) -> Any:
        return m[f"{architecture}.{key}"]

    heads = {"attn_q": number("attention.head_count"), "attn_k": number("attention.head_count_kv")}
    theirs = {}
    for name, values in tensors.items():
        part = name.split(".")[-2]
        if architecture == "llama" and part in heads:
            values = values.reshape(heads[part], -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and part.endswith("norm"):
            values = values - np.float32(1)
        theirs[_name(name, architecture, any("post_ffw" in each for each in tensors))] = values
    write_safetensors(folder / "model.safetensors", theirs, dtype)
    config = {
        "model_type": MODEL_TYPES.get(architecture, architecture),
        "num_hidden_layers": number("block_count"),
        "max_position_embeddings": number("context_length"),
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_attention_heads": heads["attn_q"],
        "num_key_value_heads": heads["attn_k"],
        "head_dim": number("attention.key_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "rope_theta": number("rope.freq_base"),
        "vocab_size": len(m["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": "output.weight" not in tensors,
        "hidden_act": "gelu_pytorch_tanh" if architecture.startswith("gemma") else "silu",
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_of(m)))
    settings = {
        "bos_token": {"content": m["tokenizer.ggml.tokens"][m["tokenizer.ggml.bos_token_id"]]},
        "eos_token": m["tokenizer.ggml.tokens"][m["tokenizer.ggml.eos_token_id"]],
        "chat_template": m.get("tokenizer.chat_template"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def tokenizer_of(m: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer.json of a byte-level vocabulary that is cut like SmolLM's."""
    tokens, types = m["tokenizer.ggml.tokens"], m["tokenizer.ggml.token_type"]
    added = [
        {"id": index, "content": tokens[index], "special": kind == 3} for index, kind in enumerate(types) if kind != 1
    ]
    return {
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens) if types[index] == 1},
            "merges": m["tokenizer.ggml.merges"],
        },
    }


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str = "F32") -> Path:
    header, parts, end = {}, [], 0
    for name, values in tensors.items():
        raw = stored(values, dtype)
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [end, end + len(raw)]}
        parts.append(raw)
        end += len(raw)
    return write_raw(path, json.dumps(header).encode(), parts)


def write_raw(path: Path, header: bytes, parts: Sequence[bytes]) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(parts))
    return path


def stored(values: np.ndarray, dtype: str) -> bytes:
    values = np.ascontiguousarray(values, np.float32)
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype("<f2" if dtype == "F16" else "<f4").tobytes()


def _name(name: str, architecture: str, has_post_norms: bool) -> str:
    *block, part, ending = name.split(".")
    if not block:
        return f"{OUTER[part]}.{ending}"
    names = NAMES | (POST_NORMS if has_post_norms else PLAIN_NORMS)
    if architecture == "phi3":
        names = names | {"ffn_up": "mlp.gate_up_proj"}
    return f"model.layers.{block[1]}.{names[part]}.{ending}"
