"""Memory of keys and values in blocks of 32 tokens. Knows layout and size, not who holds a block.

block | layer | kv head | K transposed, then V, as kernels.runtime.kv_types lays them out

So the memory that is ever written is that of the blocks in use, in huge pages too; layer by layer, the first token took
a huge page of each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.cpu.memory import usable_memory_bytes
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, KVType, LayerBlocks
from service.errors import SettingsError
from service.model.config import ModelConfig
from service.model.memory import anonymous

DEFAULT_SHARE = 4  # of the usable memory, one part in so many


@dataclass(frozen=True, slots=True)
class KVLayout:
    """Strides in bytes."""

    num_layers: int
    num_blocks: int
    num_kv_heads: int
    head_dim: int
    kv_type: KVType = F16_KV

    @property
    def head_bytes(self) -> int:
        return self.kv_type.head_bytes(self.head_dim)

    @property
    def layer_bytes(self) -> int:
        """Of a block."""
        return self.num_kv_heads * self.head_bytes

    @property
    def block_bytes(self) -> int:
        return self.num_layers * self.layer_bytes

    @property
    def num_bytes(self) -> int:
        return self.num_blocks * self.block_bytes


@dataclass(frozen=True, slots=True)
class KVCache:
    layout: KVLayout
    data: npt.NDArray[np.uint8]

    def layer(self, index: int) -> LayerBlocks:
        return LayerBlocks(int(self.data.ctypes.data) + index * self.layout.layer_bytes, self.layout.block_bytes)


def block_layout(config: ModelConfig, kv_type: KVType) -> KVLayout:
    """Of a single block, in all layers."""
    return KVLayout(config.num_layers, 1, config.num_kv_heads, config.head_dim, kv_type)


def make_kv_cache(
    config: ModelConfig,
    context: int,
    max_batch: int,
    wish_bytes: int | None,
    kv_type: KVType = F16_KV,
    usable_bytes: int | None = None,
    num_models: int = 1,
    beside_block_bytes: int = 0,
) -> KVCache:
    """As many blocks as the budget holds, but no more than `max_batch` whole contexts need.

    Without a wish the budget is a quarter of the usable memory, and at least one whole context; of several models each
    gets an equal part of what is wished or usable. `beside_block_bytes`: what each block takes
    of the budget elsewhere, for one of a draft model. Raises SettingsError for a wish that holds no block, and for a
    context that memory does not hold. Pages exist once they are written. `usable_bytes` is for tests.
    """
    one = block_layout(config, kv_type)
    block_bytes = one.num_bytes + beside_block_bytes
    context_blocks = -(-context // BLOCK_TOKENS)
    usable = usable_memory_bytes() if usable_bytes is None else usable_bytes
    if wish_bytes is not None:
        wish_bytes //= num_models
        if wish_bytes < block_bytes:
            raise SettingsError(
                f"kv_memory of {wish_bytes} bytes is less than a block of {BLOCK_TOKENS} tokens: {block_bytes} bytes"
            )
        least, affordable = 1, wish_bytes // block_bytes
    else:
        least, affordable = context_blocks, usable // DEFAULT_SHARE // num_models // block_bytes
    num_blocks = max(least, min(affordable, max_batch * context_blocks))
    layout = replace(one, num_blocks=num_blocks)
    num_bytes = num_blocks * block_bytes
    if num_bytes > usable:
        raise SettingsError(
            f"a KV cache of {num_bytes} bytes does not fit the {usable} bytes that are free; "
            f"set ctx or kv_memory to less, or kv_type to q8_0"
        )
    return KVCache(layout, anonymous(layout.num_bytes))
