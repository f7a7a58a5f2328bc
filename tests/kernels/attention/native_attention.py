"""Calls attention micro-kernels through ctypes: one sequence, one kv head. Knows their C signatures only."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.attention.emit import PARTIAL_HEAD, RANGE_TOKENS, Tile
from kernels.attention.merge import Merge
from kernels.attention.program import AttentionShape
from kernels.attention.variants import ATTENTION_VARIANTS, AttentionVariant
from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.runtime.kv_types import F16_KV, KVType

_SIZE, _POINTER = ctypes.c_int64, ctypes.c_void_p
ATTENTION = ctypes.CFUNCTYPE(None, _SIZE, _POINTER, _POINTER, _SIZE, _POINTER, _POINTER, _SIZE, _POINTER)
MERGE = ctypes.CFUNCTYPE(None, _SIZE, _POINTER, _POINTER)

# What this CPU lacks is never compiled: it runs where it exists, under emulation on Arm.
VARIANTS_HERE = [variant for variant in ATTENTION_VARIANTS if variant.rung.runs_on(detect_cpu())]


@dataclass(frozen=True, slots=True)
class Cache:
    """The KV cache of one sequence: `blocks` u8[num_blocks, 1, 2, plane_bytes], `table` i32."""

    blocks: npt.NDArray[np.uint8]
    table: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class NativeAttention:
    """Micro-kernels of one tile, loaded."""

    tile: Tile
    merge: Merge
    library: KernelLibrary

    @classmethod
    def load(
        cls,
        variant: AttentionVariant,
        head_dim: int,
        rows: int | None = None,
        window: int | None = None,
        soft_cap: float | None = None,
        kv: KVType = F16_KV,
    ) -> NativeAttention:
        tile = variant.tile(head_dim, rows, window, soft_cap, kv)
        made = cls(tile, variant.merge(head_dim), KernelLibrary())
        made.library.load([(made.tile.name, made.tile.emit), (made.merge.name, made.merge.emit)])
        return made

    def partials(
        self, q: npt.NDArray[np.float32], positions: npt.NDArray[np.int32], cache: Cache, start: int
    ) -> npt.NDArray[np.float32]:
        """q: f32[rows, head_dim], scaled -> f32[rows, 16 + head_dim] for the range that begins at `start`."""
        run = ATTENTION(self.library.address(self.tile.name))
        out = np.full((q.shape[0] + 1, PARTIAL_HEAD + self.tile.head_dim), 7, np.float32)
        block_stride = int(cache.blocks[0].nbytes)
        addresses = (q.ctypes.data, positions.ctypes.data, start, cache.table.ctypes.data, cache.blocks.ctypes.data)
        run(q.shape[0], *addresses, block_stride, out.ctypes.data)
        assert (out[-1] == 7).all(), "the kernel wrote past its last row"
        return out[:-1]

    def __call__(
        self, q: npt.NDArray[np.float32], positions: npt.NDArray[np.int32], cache: Cache, scale: float
    ) -> npt.NDArray[np.float32]:
        """q: f32[rows, head_dim] -> f32[rows, head_dim], over every range that a row sees."""
        merge = MERGE(self.library.address(self.merge.name))
        shape = AttentionShape(1, 1, self.tile.head_dim, scale, self.tile.window, self.tile.soft_cap)
        scaled = q * np.float32(shape.query_scale)
        state = np.zeros((q.shape[0], PARTIAL_HEAD + self.tile.head_dim), np.float32)
        state[:, 0] = -np.inf
        for start in range(0, int(positions.max()) + 1, RANGE_TOKENS):
            partials = self.partials(scaled, positions, cache, start)
            merge(q.shape[0], partials.ctypes.data, state.ctypes.data)
        return np.asarray(state[:, PARTIAL_HEAD:] * (np.float32(1) / state[:, 1:2]))
