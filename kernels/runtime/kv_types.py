"""The types that keys and values are kept in: what a block of the KV cache holds of one kv head. Knows no cache.

    f16, f32    K^T [head_dim, 32], then V [32, head_dim]
    q8_0        K^T int8[head_dim, 32] | scales f16[groups, 32], then V int8[32, head_dim] | scales f16[32, groups]
    i16         K^T int16[head_dim/2, 32, 2] | scales f32[32], then V int16[16, head_dim, 2] | scales f32[32]

q8_0 has a scale for 32 elements of one token along head_dim (the last group may have 16), of keys and of values alike:
a token is quantised once, when it is written, and never again. A scale for 32 tokens would have to change with every
token that its block gets, and what a token is worth would depend on who came after it.

A scale is d = max |x| / 127 as f16, an element round(x / d), to even, in -127..127. d x element has 18 bits: whoever
reads it as f32 has it exactly.

i16 is for CPUs that multiply pairs of int16 twice as fast as floats: elements lie in pairs, of head_dim in K, of tokens
i and i + 16 in V. A token has one scale, d = |x| / 32704 with |x| its Euclidean norm: so no element is beyond int16,
and by Cauchy-Schwarz no sum of products of two tokens beyond 2^30, whatever the head_dim. Rounding costs 2^-13.8 of a
token's root mean square at head_dim 64, 2^-12.8 at 256; in f16 it costs about 2^-13 of each element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kernels.runtime.abi import BLOCK_TOKENS

GROUP: Final = 32  # elements of a token that share a scale in q8_0
SCALE_BYTES: Final = 2
TOKEN_SCALE_BYTES: Final = 4
NORM: Final = 32704.0  # of a token's integers in i16; rounding adds 16 at most, at head_dim 1024
MOST_IN_I16: Final = 2.0**55  # elements saturate: the squares of 1024 have a sum that is finite


@dataclass(frozen=True, slots=True)
class KVType:
    """`name`: in settings; `kernel_name`: in names of micro-kernels; `code`: in op records.

    has_scales: of groups, as f16. in_pairs: int16 that are multiplied as integers.
    """

    name: str
    kernel_name: str
    code: int
    element_bytes: int
    has_scales: bool = False
    in_pairs: bool = False

    @property
    def is_widened(self) -> bool:
        """Whether elements have to be made floats before they are multiplied."""
        return not self.in_pairs and self.element_bytes != 4

    def num_groups(self, head_dim: int) -> int:
        """Scales of one token's K, or V."""
        return -(-head_dim // GROUP) if self.has_scales else 0

    def element_plane_bytes(self, head_dim: int) -> int:
        """K of one kv head in a block, or V, without scales."""
        return BLOCK_TOKENS * head_dim * self.element_bytes

    def plane_bytes(self, head_dim: int) -> int:
        """K of one kv head in a block, or V, with its scales."""
        scale_bytes = TOKEN_SCALE_BYTES if self.in_pairs else SCALE_BYTES * self.num_groups(head_dim)
        return self.element_plane_bytes(head_dim) + BLOCK_TOKENS * scale_bytes

    def head_bytes(self, head_dim: int) -> int:
        return 2 * self.plane_bytes(head_dim)


@dataclass(frozen=True, slots=True)
class LayerBlocks:
    """Where one layer's parts of the blocks lie: the address of the first, and bytes from one to the next."""

    address: int
    stride: int


F16_KV: Final = KVType("f16", "f16", 0, 2)
Q8_0_KV: Final = KVType("q8_0", "qsi8d32", 1, 1, has_scales=True)
F32_KV: Final = KVType("f32", "f32", 2, 4)
I16_KV: Final = KVType("i16", "qsi16dx", 3, 2, in_pairs=True)
KV_TYPES: Final = (F16_KV, I16_KV, Q8_0_KV, F32_KV)


def kv_type_named(name: str) -> KVType:
    (found,) = (kind for kind in KV_TYPES if name in (kind.name, kind.kernel_name))
    return found
