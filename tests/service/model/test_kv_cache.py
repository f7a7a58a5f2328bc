"""The KV cache: what is wished, what memory holds, what a batch can use; where blocks and layers lie."""

from pathlib import Path

import pytest

from kernels.runtime.kv_types import F16_KV, F32_KV, I16_KV, Q8_0_KV, KVType
from service.errors import SettingsError
from service.gguf.reader import open_gguf
from service.model.config import ModelConfig, read_config
from service.model.kv_cache import make_kv_cache
from service.model.memory import check_weights_fit

MIB = 1 << 20


@pytest.fixture(scope="module")
def config(tiny_gguf: Path) -> ModelConfig:
    with open_gguf(tiny_gguf) as file:
        return read_config(file.metadata)


def block_bytes(config: ModelConfig) -> int:
    """Of all layers: K and V, f16, 32 tokens."""
    return config.num_layers * config.num_kv_heads * 2 * 32 * config.head_dim * 2


def test_it_holds_the_whole_batch_where_memory_does(config: ModelConfig) -> None:
    assert make_kv_cache(config, 256, 16, None, usable_bytes=1 << 40).layout.num_blocks == 16 * 256 // 32


@pytest.mark.parametrize("num_blocks", [127, 64, 9, 8])
def test_a_limit_shrinks_it_to_a_quarter_of_what_is_free(config: ModelConfig, num_blocks: int) -> None:
    usable = 4 * num_blocks * block_bytes(config)
    assert make_kv_cache(config, 256, 16, None, usable_bytes=usable).layout.num_blocks == num_blocks


def test_a_block_of_all_layers_lies_together(config: ModelConfig) -> None:
    """So what is in use is what is resident, and layers never overlap."""
    cache = make_kv_cache(config, 256, 2, None, usable_bytes=1 << 40)
    layers = [cache.layer(index) for index in range(config.num_layers)]
    assert {layer.stride for layer in layers} == {block_bytes(config)}
    starts = [layer.address - int(cache.data.ctypes.data) for layer in layers]
    assert starts == [index * block_bytes(config) // config.num_layers for index in range(config.num_layers)]
    assert cache.data.nbytes == cache.layout.num_blocks * block_bytes(config)


def test_it_does_not_shrink_below_one_context(config: ModelConfig) -> None:
    assert make_kv_cache(config, 256, 16, None, usable_bytes=8 * block_bytes(config)).layout.num_blocks == 8
    too_little = 8 * block_bytes(config) - 1
    with pytest.raises(SettingsError, match=f"{8 * block_bytes(config)} bytes does not fit the {too_little} bytes"):
        make_kv_cache(config, 256, 16, None, usable_bytes=too_little)


@pytest.mark.parametrize(
    ("kv_type", "element_bytes", "group_bytes", "token_bytes"),
    [(Q8_0_KV, 1, 2, 0), (F16_KV, 2, 0, 0), (I16_KV, 2, 0, 4), (F32_KV, 4, 0, 0)],
)
def test_a_budget_holds_as_many_blocks_as_its_type_allows(
    config: ModelConfig, kv_type: KVType, element_bytes: int, group_bytes: int, token_bytes: int
) -> None:
    per_head = config.head_dim * element_bytes + -(-config.head_dim // 32) * group_bytes + token_bytes
    per_block = config.num_layers * config.num_kv_heads * 2 * 32 * per_head
    layout = make_kv_cache(config, 4096, 16, 40 * per_block + 1, kv_type).layout
    assert (layout.num_blocks, layout.num_bytes) == (40, 40 * per_block)


def test_a_wish_that_memory_does_not_hold_is_refused(config: ModelConfig) -> None:
    with pytest.raises(SettingsError, match="does not fit"):
        make_kv_cache(config, 4096, 1024, 64 * MIB, usable_bytes=1 * MIB)


def test_weights_that_memory_does_not_hold_are_refused_with_the_numbers() -> None:
    check_weights_fit("model.gguf", 100, 100)
    with pytest.raises(SettingsError, match=r"model.gguf: weights of 101 bytes do not fit the 100 bytes"):
        check_weights_fit("model.gguf", 101, 100)
