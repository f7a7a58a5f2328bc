"""The numbers of a llama architecture: read, derived, and refused where they are wrong, each in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from service.errors import ModelFileError
from service.model.config import MAX_SIZE, ModelConfig, read_config

METADATA: Mapping[str, object] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}


def test_defaults_are_those_of_the_format() -> None:
    assert read_config(METADATA) == ModelConfig(
        name="Tiny",
        num_layers=2,
        embedding=64,
        num_heads=4,
        num_kv_heads=4,
        head_dim=16,
        rope_dim=16,
        feed_forward=96,
        context=256,
        norm_eps=1e-5,
        rope_base=10_000.0,
    )


def test_what_is_given_wins() -> None:
    config = read_config(
        {
            **METADATA,
            "llama.attention.head_count_kv": 2,
            "llama.attention.key_length": 32,
            "llama.attention.value_length": 32,
            "llama.rope.dimension_count": 16,
            "llama.rope.freq_base": 500_000.0,
        }
    )
    assert (config.num_kv_heads, config.head_dim, config.rope_dim, config.rope_base) == (2, 32, 16, 500_000.0)
    assert (config.query_columns, config.kv_columns) == (128, 64)


@pytest.mark.parametrize("key", sorted(METADATA.keys() - {"general.name", "general.architecture"}))
def test_missing(key: str) -> None:
    with pytest.raises(ModelFileError) as refused:
        read_config({name: number for name, number in METADATA.items() if name != key})
    assert key in str(refused.value)
    assert "\n" not in str(refused.value)


SIZES = [key for key, number in METADATA.items() if isinstance(number, int)]
NOT_SIZES = (0, -1, 1 << 31, 1.5, True, "64", None, [64], math.nan)


@pytest.mark.parametrize("key", [*SIZES, "llama.attention.head_count_kv", "llama.rope.dimension_count"])
@pytest.mark.parametrize("number", NOT_SIZES, ids=repr)
def test_no_size(key: str, number: object) -> None:
    with pytest.raises(ModelFileError) as refused:
        read_config({**METADATA, key: number})
    assert "\n" not in str(refused.value)
    assert key in str(refused.value) or "heads" in str(refused.value)


NUMBERS = ("llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base")


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf, 1e300, True, "1e-5", [1e-5]], ids=repr)
def test_no_number(key: str, number: object) -> None:
    with pytest.raises(ModelFileError, match=key):
        read_config({**METADATA, key: number})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama.attention.head_count": 3}, "an embedding of 64 cannot be divided among 3 heads"),
        ({"llama.attention.head_count_kv": 3}, "4 query heads cannot share 3 key-value heads evenly"),
        ({"llama.attention.head_count_kv": 8}, "4 query heads cannot share 8 key-value heads evenly"),
        ({"llama.attention.head_count": 8}, "head size is 8; it has to be a multiple of 16"),
        ({"llama.feed_forward_length": 100}, "feed_forward_length is 100; it has to be a multiple of 16"),
        ({"llama.embedding_length": 72, "llama.attention.key_length": 16}, "embedding_length is 72"),
        ({"llama.attention.value_length": 32}, "keys and values of different lengths"),
        ({"llama.rope.dimension_count": 32}, "rope.dimension_count is 32; it has to be even and at most 16"),
        ({"llama.rope.dimension_count": 7}, "rope.dimension_count is 7; it has to be even and at most 16"),
        ({"llama.embedding_length": MAX_SIZE + 16}, f"from 1 to {MAX_SIZE}"),
    ],
)
def test_contradictions(changes: Mapping[str, object], message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as refused:
        read_config({**METADATA, **changes})
    assert len(str(refused.value)) < 200


def test_a_long_name_is_cut() -> None:
    assert len(read_config({**METADATA, "general.name": "x" * 100_000}).name) == 256
