"""How large a KV block of the tiny model is, in the type that this CPU keeps keys and values in."""

from __future__ import annotations

from kernels.attention.variants import AUTO, kv_type_of
from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for

NUM_LAYERS, NUM_KV_HEADS, HEAD_DIM = 2, 2, 16
BLOCK_BYTES = NUM_LAYERS * NUM_KV_HEADS * kv_type_of(AUTO, rungs_for(detect_cpu())).head_bytes(HEAD_DIM)
