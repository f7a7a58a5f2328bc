"""Puts attention into a program: the op's arguments, buffers and kernel slots. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from kernels.attention.division import PARTS_PER_THREAD
from kernels.attention.emit import Tile
from kernels.attention.op import ATTENTION, ROWS_AT, attention
from kernels.attention.partials import PARTIAL_HEAD, partial_bytes
from kernels.attention.sight import RANGE_TOKENS
from kernels.attention.variants import AttentionVariant
from kernels.jit.library import KernelLibrary
from kernels.jit.vector_math import LOG2_E
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, KVType, LayerBlocks
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

TILE_ROWS: Final = 144  # of a unit, a multiple of every tile's: many read the cache seldom, few enough stay in L2
FEW_TILE_ROWS: Final = 48  # the same where the team would have too few units to share
MANY_TILES: Final = 5  # with more rows than so many tiles, elements are made floats once for all of them
MAX_PARTIAL_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """`window`: a token sees so many tokens, itself among them. `soft_cap`: scores become cap tanh(score / cap)."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    window: int | None = None
    soft_cap: float | None = None
    kv: KVType = F16_KV

    def __post_init__(self) -> None:
        assert self.num_heads % self.num_kv_heads == 0, f"{self.num_heads} heads over {self.num_kv_heads} kv heads"

    @property
    def group(self) -> int:
        """Query heads that share a kv head."""
        return self.num_heads // self.num_kv_heads

    @property
    def tile_tokens(self) -> int:
        """Query tokens of a unit of work, at the most."""
        return max(1, TILE_ROWS // self.group)

    @property
    def few_tokens(self) -> int:
        """The same where there are few."""
        return max(1, FEW_TILE_ROWS // self.group)

    @property
    def query_scale(self) -> float:
        """What the micro-kernel wants its queries multiplied with."""
        return self.scale * LOG2_E if self.soft_cap is None else 2 * self.scale * LOG2_E / self.soft_cap

    @property
    def head_bytes(self) -> int:
        """K and V of one kv head in one block of the cache."""
        return self.kv.head_bytes(self.head_dim)

    @property
    def block_bytes(self) -> int:
        return self.num_kv_heads * self.head_bytes


@dataclass(frozen=True, slots=True)
class AttentionWorkspace:
    """Partials of units that the team cuts into parts. The layers of a program share one."""

    partials: Buffer
    arrivals: Buffer

    @classmethod
    def reserve(
        cls, builder: ProgramBuilder, shape: AttentionShape, max_context: int, num_threads: int
    ) -> AttentionWorkspace:
        """Room for every decode that is cut, up to a limit: what does not fit is not cut. Untouched pages cost none."""
        num_units = PARTS_PER_THREAD * num_threads  # more are never cut, see kernels.attention.division
        wanted = num_units * -(-max_context // RANGE_TOKENS) * shape.num_heads
        room = min(wanted, MAX_PARTIAL_BYTES // partial_bytes(shape.head_dim))
        partials = builder.buffer("attention_partials", np.float32, (room, PARTIAL_HEAD + shape.head_dim))
        return cls(partials, builder.buffer("attention_arrivals", np.int32, (num_units,)))


@dataclass(frozen=True, slots=True)
class AttentionOp:
    """Where attention stands in a program. q: roped rows; kv: address of this layer of the cache."""

    name: str
    shape: AttentionShape
    variant: AttentionVariant
    q: Buffer
    kv: LayerBlocks
    out: Buffer
    workspace: AttentionWorkspace

    @property
    def few(self) -> Tile:
        shape = self.shape
        return self.variant.tile(shape.head_dim, None, shape.window, shape.soft_cap, shape.kv)

    @property
    def many(self) -> Tile:
        shape = self.shape
        return self.variant.wide_tile(shape.head_dim, shape.window, shape.soft_cap, shape.kv)

    @property
    def decode(self) -> Tile:
        shape = self.shape
        return self.variant.decode_tile(shape.head_dim, shape.group, shape.window, shape.soft_cap, shape.kv)

    def add(self, builder: ProgramBuilder, library: KernelLibrary) -> None:
        shape, few, many, decode = self.shape, self.few, self.many, self.decode
        merge = self.variant.merge(shape.head_dim)
        library.load([(kernel.name, kernel.emit) for kernel in (few, many, decode, merge)])
        num_rows = max(shape.tile_tokens * shape.group, shape.num_heads)
        builder.scratch(ROWS_AT + num_rows * (4 * shape.head_dim + 2 * partial_bytes(shape.head_dim) + 4))
        args: dict[str, int | float | Buffer] = {
            "q": self.q,
            "q_stride": self.q.row_bytes,
            "out": self.out,
            "out_stride": self.out.row_bytes,
            "kv": self.kv.address,
            "block_stride": self.kv.stride,
            "head_stride": shape.head_bytes,
            "num_kv_heads": shape.num_kv_heads,
            "group": shape.group,
            "head_dim": shape.head_dim,
            "scale": shape.query_scale,
            "in_pairs": int(shape.kv.in_pairs),
            "window": shape.window or 0,
            "few": library.address(few.name),
            "many": library.address(many.name),
            "many_rows": MANY_TILES * few.rows + 1,
            "decode": library.address(decode.name),
            "merge": library.address(merge.name),
            "tile_tokens": shape.tile_tokens,
            "few_tokens": shape.few_tokens,
            "partials": self.workspace.partials,
            "max_partials": self.workspace.partials.shape[0],
            "arrivals": self.workspace.arrivals,
        }
        slots = (self._slot(many, shape.tile_tokens), self._slot(decode, 1), self._slot(few, shape.few_tokens))
        builder.op(self.name, record=ATTENTION, run=attention.address, slots=slots, args=args)

    def _slot(self, tile: Tile, num_queries: int) -> KernelSlot:
        """A unit is a token that a query token sees. Bytes: of the cache, read once for `num_queries` of a sequence."""
        return KernelSlot(
            self.name,
            tile.name,
            bytes_per_unit=self.shape.block_bytes // BLOCK_TOKENS // num_queries,
            operations_per_unit=4 * self.shape.head_dim * self.shape.num_heads,
        )
