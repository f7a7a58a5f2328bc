"""The attention micro-kernels that this CPU runs, of any tile. Knows no program."""

from __future__ import annotations

from kernels.attention.direct import Cache, DirectAttention
from kernels.attention.variants import ATTENTION_VARIANTS, AttentionVariant
from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.runtime.kv_types import F16_KV, KVType

__all__ = ["VARIANTS_HERE", "Cache", "DirectAttention", "load_attention"]

# What this CPU lacks is never compiled: it runs where it exists, under emulation on Arm.
VARIANTS_HERE = [variant for variant in ATTENTION_VARIANTS if variant.rung.runs_on(detect_cpu())]


def load_attention(
    variant: AttentionVariant,
    head_dim: int,
    rows: int | None = None,
    window: int | None = None,
    soft_cap: float | None = None,
    kv: KVType = F16_KV,
    is_wide: bool = False,
) -> DirectAttention:
    tile = variant.tile(head_dim, rows, window, soft_cap, kv, is_wide)
    return DirectAttention(tile, variant.merge(head_dim), KernelLibrary())
