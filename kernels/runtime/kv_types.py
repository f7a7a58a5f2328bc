"""The types that keys and values are kept in: what a block of the KV cache holds of one kv head. Knows no cache.

    f16, f32    K^T [head_dim, 32], then V [32, head_dim]
    q8_0        K^T int8[head_dim, 32] | scales f16[groups, 32], then V int8[32, head_dim] | scales f16[32, groups]

q8_0 has a scale for 32 elements of one token along head_dim (the last group may have 16), of keys and of values alike:
a token is quantised once, when it is written, and never again. A scale for 32 tokens would have to change with every
token that its block gets, and what a token is worth would depend on who came after it.

A scale is d = max |x| / 127 as f16, an element round(x / d), to even, in -127..127. d x element has 18 bits: whoever
reads it as f32 has it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kernels.runtime.abi import BLOCK_TOKENS

GROUP: Final = 32  # elements of a token that share a scale
SCALE_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class KVType:
    """`name`: in settings; `kernel_name`: in names of micro-kernels; `code`: in op records."""

    name: str
    kernel_name: str
    code: int
    element_bytes: int
    has_scales: bool = False

    def num_groups(self, head_dim: int) -> int:
        """Scales of one token's K, or V."""
        return -(-head_dim // GROUP) if self.has_scales else 0

    def element_plane_bytes(self, head_dim: int) -> int:
        """K of one kv head in a block, or V, without scales."""
        return BLOCK_TOKENS * head_dim * self.element_bytes

    def plane_bytes(self, head_dim: int) -> int:
        """K of one kv head in a block, or V, with its scales."""
        return self.element_plane_bytes(head_dim) + BLOCK_TOKENS * SCALE_BYTES * self.num_groups(head_dim)

    def head_bytes(self, head_dim: int) -> int:
        return 2 * self.plane_bytes(head_dim)


F16_KV: Final = KVType("f16", "f16", 0, 2)
Q8_0_KV: Final = KVType("q8_0", "qsi8d32", 1, 1, has_scales=True)
F32_KV: Final = KVType("f32", "f32", 2, 4)
KV_TYPES: Final = (F16_KV, Q8_0_KV, F32_KV)


def kv_type_named(name: str) -> KVType:
    (found,) = (kind for kind in KV_TYPES if name in (kind.name, kind.kernel_name))
    return found
