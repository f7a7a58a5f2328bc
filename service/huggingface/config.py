"""config.json as GGUF's metadata: the architecture, its sizes, its rotation. Knows no tensors.

What a config asks for and no program here computes is refused by name; nothing is passed over that changes an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from service.errors import ModelFileError
from service.gguf.cursor import quoted
from service.huggingface.document import Document

ARCHITECTURES: Final[Mapping[str, str]] = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
}
"""model_type -> general.architecture"""

ACTIVATIONS: Final = {"gemma": ("gelu", "gelu_pytorch_tanh"), "gemma2": ("gelu_pytorch_tanh",)}
ACTIVATIONS["gemma3"] = ACTIVATIONS["gemma2"]
GEMMA3_PERIOD = 6


def architecture_of(config: Document) -> str:
    kind = config.string("model_type")
    if kind not in ARCHITECTURES:
        raise ModelFileError(f"config.json: model_type {quoted(kind)} is not supported; {', '.join(ARCHITECTURES)} are")
    return ARCHITECTURES[kind]


def head_dim(config: Document) -> int:
    heads = config.integer("num_attention_heads")
    return config.integer("head_dim", max(1, config.integer("hidden_size") // heads))


def num_kv_heads(config: Document) -> int:
    return config.integer("num_key_value_heads", config.integer("num_attention_heads"))


def rotation(config: Document) -> Document:
    """What scales positions: rope_scaling, or in newer files rope_parameters; empty where nothing does."""
    return config.part("rope_parameters" if config.has("rope_parameters") else "rope_scaling")


def rope_base(config: Document) -> float:
    nested = rotation(config)
    default = nested.number("rope_theta", 10_000.0, least=1.0)
    return config.number("rope_theta", default, least=1.0)


def rope_type(config: Document) -> str:
    found = rotation(config)
    return found.string("rope_type", found.string("type", "default"))


def metadata_of(config: Document, name: str) -> Iterator[tuple[str, Any]]:
    """Keys and values, all but those of the vocabulary."""
    architecture = architecture_of(config)
    _refuse_unknown(config, architecture)
    yield "general.name", name
    prefix, size = f"{architecture}.", head_dim(config)
    context = config.integer("max_position_embeddings")
    if config.string("model_type") == "mistral" and config.has("sliding_window"):
        context = min(context, config.integer("sliding_window"))  # no farther than the window, it makes no difference
    yield f"{prefix}block_count", config.integer("num_hidden_layers", most=1 << 12)
    yield f"{prefix}context_length", context
    yield f"{prefix}embedding_length", config.integer("hidden_size")
    yield f"{prefix}feed_forward_length", config.integer("intermediate_size")
    yield f"{prefix}attention.head_count", config.integer("num_attention_heads")
    yield f"{prefix}attention.head_count_kv", num_kv_heads(config)
    yield f"{prefix}attention.key_length", size
    yield f"{prefix}attention.value_length", size
    yield f"{prefix}attention.layer_norm_rms_epsilon", config.number("rms_norm_eps", 1e-6)
    yield f"{prefix}rope.dimension_count", int(size * config.number("partial_rotary_factor", 1.0, most=1.0))
    yield f"{prefix}rope.freq_base", rope_base(config)
    yield f"{prefix}vocab_size", config.integer("vocab_size")
    for key, value in _scaling(config, context):
        yield f"{prefix}rope.scaling.{key}", value
    if architecture == "gemma2":
        yield f"{prefix}attn_logit_softcapping", config.number("attn_logit_softcapping", 50.0)
        yield f"{prefix}final_logit_softcapping", config.number("final_logit_softcapping", 30.0)
        yield f"{prefix}attention.sliding_window", config.integer("sliding_window", 4096)
    if architecture == "gemma3":
        yield f"{prefix}attention.sliding_window", config.integer("sliding_window", 4096)
        yield f"{prefix}rope.freq_base_swa", config.number("rope_local_base_freq", 10_000.0, least=1.0)


def rope_factors(config: Document) -> Mapping[str, list[float]]:
    """Tensors that divide frequencies, by name: Llama 3's, Phi 3's."""
    found, kind = rotation(config), rope_type(config)
    half = int(head_dim(config) * config.number("partial_rotary_factor", 1.0, most=1.0)) // 2
    if kind == "llama3":
        return {"rope_freqs.weight": _llama3_factors(found, rope_base(config), half)}
    if kind in ("longrope", "su"):
        return {
            f"rope_factors_{length}.weight": _factors(found, f"{length}_factor", half) for length in ("long", "short")
        }
    return {}


def _refuse_unknown(config: Document, architecture: str) -> None:
    if config.has("quantization_config"):
        raise ModelFileError("config.json: quantization_config: weights that are quantised already are not supported")
    right = ACTIVATIONS.get(architecture, ("silu",))
    for key in ("hidden_act", "hidden_activation"):
        if config.has(key) and config.string(key) not in right:
            found = quoted(config.string(key))
            raise ModelFileError(f"config.json: {key} is {found}; of {architecture} {' and '.join(right)} is supported")
    if config.flag("use_sliding_window", False):
        raise ModelFileError("config.json: use_sliding_window is true; no window is supported for this architecture")
    layers = config.values.get("layer_types")
    if architecture == "gemma3" and layers is not None:
        period = config.integer("sliding_window_pattern", GEMMA3_PERIOD)
        full = [index % period == period - 1 for index in range(len(layers))] if isinstance(layers, list) else []
        if period != GEMMA3_PERIOD or [kind == "full_attention" for kind in layers] != full:
            raise ModelFileError(f"config.json: layer_types other than every {GEMMA3_PERIOD}th full are not supported")


def _scaling(config: Document, context: int) -> Iterator[tuple[str, Any]]:
    found, kind = rotation(config), rope_type(config)
    if kind in ("default", "llama3"):  # of llama3 there is a tensor of factors
        return
    original = found.integer(
        "original_max_position_embeddings", config.integer("original_max_position_embeddings", context)
    )
    if kind == "linear":
        yield "type", "linear"
        yield "factor", found.number("factor", least=1.0, most=1e4)
    elif kind == "yarn":
        yield "type", "yarn"
        yield "factor", found.number("factor", least=1.0, most=1e4)
        yield "original_context_length", original
    elif kind in ("longrope", "su"):
        scale = context / original
        yield "type", "longrope"
        yield "original_context_length", original
        yield "attn_factor", math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    else:
        raise ModelFileError(f"config.json: rope scaling {quoted(kind)} is none of linear, yarn, llama3, longrope")


def _llama3_factors(found: Document, base: float, half: int) -> list[float]:
    """arXiv:2407.21783, as transformers computes it."""
    factor = found.number("factor", least=1.0, most=1e4)
    low, high = found.number("low_freq_factor", 1.0, least=1e-3), found.number("high_freq_factor", 4.0, least=1e-3)
    original = found.integer("original_max_position_embeddings", 8192)
    if not low < high:
        raise ModelFileError(f"config.json: low_freq_factor {low} is not below high_freq_factor {high}")
    factors = []
    for index in range(half):
        wavelength = 2 * math.pi * base ** (index / half)
        smooth = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _factors(found: Document, key: str, half: int) -> list[float]:
    values = found.values.get(key)
    if (
        not isinstance(values, list)
        or len(values) != half
        or not all(type(value) in (int, float) and 0 < value < 1e6 for value in values)
    ):
        raise ModelFileError(f"{found.source}: {key} has to be {half} numbers above 0")
    return [float(value) for value in values]
