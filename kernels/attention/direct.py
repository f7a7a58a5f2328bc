"""Calls attention micro-kernels one by one through ctypes: one sequence, one kv head. Knows their C signatures only."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.attention.emit import Tile
from kernels.attention.kv_blocks import Bytes, Floats, query_rows
from kernels.attention.merge import Merge
from kernels.attention.partials import PARTIAL_HEAD
from kernels.attention.program import AttentionShape
from kernels.attention.range_planes import RANGE_BLOCKS
from kernels.attention.sight import RANGE_TOKENS
from kernels.errors import KernelsError
from kernels.jit.library import KernelLibrary

_SIZE, _POINTER = ctypes.c_int64, ctypes.c_void_p
ATTENTION = ctypes.CFUNCTYPE(None, _SIZE, _POINTER, _POINTER, _SIZE, _POINTER, _POINTER, _SIZE, _POINTER, _POINTER)
MERGE = ctypes.CFUNCTYPE(None, _SIZE, _POINTER, _POINTER)
UNTOUCHED = np.float32(7)


class WroteTooFar(KernelsError):
    """A micro-kernel wrote past its last row."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The KV cache of one sequence: `blocks` u8[num_blocks, 1, 2, plane_bytes], `table` i32."""

    blocks: Bytes
    table: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class DirectAttention:
    """A tile and the merge, to be called outside a program."""

    tile: Tile
    merge: Merge
    library: KernelLibrary

    def __post_init__(self) -> None:
        self.library.load([(kernel.name, kernel.emit) for kernel in (self.tile, self.merge)])

    def partials(self, q: Floats, positions: npt.NDArray[np.int32], cache: Cache, start: int) -> Floats:
        """q: f32[rows, head_dim], as query_rows makes them -> f32[rows, 16 + head_dim], of the range at `start`."""
        run = ATTENTION(self.library.address(self.tile.name))
        out = np.full((q.shape[0] + 1, PARTIAL_HEAD + self.tile.head_dim), UNTOUCHED, np.float32)
        addresses = (q.ctypes.data, positions.ctypes.data, start, cache.table.ctypes.data, cache.blocks.ctypes.data)
        ahead = np.zeros(RANGE_BLOCKS, np.int64)  # nothing: asking for an address that cannot be read does nothing
        run(q.shape[0], *addresses, int(cache.blocks[0].nbytes), out.ctypes.data, ahead.ctypes.data)
        if not (out[-1] == UNTOUCHED).all():
            raise WroteTooFar(f"{self.tile.name} wrote past its last row")
        return out[:-1]

    def __call__(self, q: Floats, positions: npt.NDArray[np.int32], cache: Cache, scale: float) -> Floats:
        """q: f32[rows, head_dim] -> f32[rows, head_dim], over every range that a row sees."""
        merge = MERGE(self.library.address(self.merge.name))
        shape = AttentionShape(1, 1, self.tile.head_dim, scale, self.tile.window, self.tile.soft_cap)
        scaled = query_rows(q, shape.query_scale, self.tile.kv)
        state = np.zeros((q.shape[0], PARTIAL_HEAD + self.tile.head_dim), np.float32)
        state[:, 0] = -np.inf
        for start in range(0, int(positions.max()) + 1, RANGE_TOKENS):
            partials = self.partials(scaled, positions, cache, start)
            merge(q.shape[0], partials.ctypes.data, state.ctypes.data)
        return np.asarray(state[:, PARTIAL_HEAD:] * (np.float32(1) / state[:, 1:2]))
