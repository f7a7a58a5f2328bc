"""Steps of attention alone: sequences over one cache, run by the executor. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.attention.kv_blocks import Bytes, cache_blocks, stored
from kernels.attention.program import AttentionOp, AttentionShape, AttentionWorkspace
from kernels.attention.variants import AttentionVariant
from kernels.jit.library import KernelLibrary
from kernels.runtime.abi import BLOCK_TOKENS, DECODE, MIXED, STEP
from kernels.runtime.executor import Executor
from kernels.runtime.kv_types import LayerBlocks
from kernels.runtime.program import ProgramBuilder

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Conversation:
    """q: f32[tokens, heads, head_dim], k, v: f32[tokens, kv_heads, head_dim], as the cache gives them;
    `table`: its blocks of the cache.
    """

    q: Floats
    k: Floats
    v: Floats
    table: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.q.shape[0])


def conversations(shape: AttentionShape, lengths: Sequence[int], seed: int = 0) -> tuple[list[Conversation], Bytes]:
    """Sequences of these lengths, their blocks scattered over one cache; what nobody wrote is NaN."""
    random = np.random.default_rng(seed)
    num_blocks = [-(-length // BLOCK_TOKENS) for length in lengths]
    order = random.permutation(2 * sum(num_blocks)).astype(np.int32)
    plane_bytes = shape.kv.plane_bytes(shape.head_dim)
    cache = np.full((order.size, shape.num_kv_heads, 2, plane_bytes), 0xFF, np.uint8)  # NaN, whatever it is read as
    made = []
    for length, count in zip(lengths, num_blocks, strict=True):
        q = random.standard_normal((length, shape.num_heads, shape.head_dim)).astype(np.float32)
        k, v = random.standard_normal((2, length, shape.num_kv_heads, shape.head_dim)).astype(np.float32)
        table, order = order[:count], order[count:]
        cache[table] = cache_blocks(k, v, shape.kv)
        made.append(Conversation(q, stored(k, shape.kv), stored(v, shape.kv), table))
    return made, cache


@dataclass(frozen=True, slots=True)
class Chunk:
    """Query tokens start..stop of a conversation."""

    of: Conversation
    start: int
    stop: int


class AttentionStep:
    """A program of one attention op and its executor."""

    def __init__(
        self,
        shape: AttentionShape,
        variant: AttentionVariant,
        cache: Bytes,
        library: KernelLibrary,
        num_threads: int,
        max_tokens: int = 1024,
        max_context: int = 8192,
    ) -> None:
        builder = ProgramBuilder()
        rows = (max_tokens, shape.num_heads * shape.head_dim)
        self._shape, self._cache = shape, cache
        q, out = builder.buffer("q", np.float32, rows), builder.buffer("out", np.float32, rows)
        workspace = AttentionWorkspace.reserve(builder, shape, max_context, num_threads)
        blocks = LayerBlocks(int(cache.ctypes.data), cache.strides[0])
        op = AttentionOp("attention", shape, variant, q, blocks, out, workspace)
        op.add(builder, library)
        self.program = builder.build()
        self._q, self._out = self.program.view(q), self.program.view(out)
        self.executor = Executor(self.program, num_threads)

    def __enter__(self) -> AttentionStep:
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.close()

    def run(self, chunks: Sequence[Chunk]) -> list[Floats]:
        """The output of each chunk: f32[tokens, heads, head_dim]."""
        counts = [chunk.stop - chunk.start for chunk in chunks]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        num_tokens, shape = int(starts[-1]), self._shape
        for chunk, start in zip(chunks, starts, strict=False):
            rows = chunk.of.q[chunk.start : chunk.stop]
            self._q[start : start + len(rows)] = rows.reshape(len(rows), -1)
        self._out[:] = np.nan
        max_blocks = max((chunk.of.table.size for chunk in chunks), default=1)
        tables = np.full((len(chunks), max_blocks), 2**31 - 1, np.int32)
        for table, chunk in zip(tables, chunks, strict=True):
            used = -(-chunk.stop // BLOCK_TOKENS)
            table[:used] = chunk.of.table[:used]
        positions = np.array([position for c in chunks for position in range(c.start, c.stop)], np.int32)
        lengths = np.array([chunk.stop for chunk in chunks], np.int32)
        step: Any = np.zeros(1, STEP)
        step["num_tokens"], step["num_sequences"] = num_tokens, len(chunks)
        step["phase"] = DECODE if num_tokens == len(chunks) else MIXED
        step["positions"], step["query_starts"] = positions.ctypes.data, starts.ctypes.data
        step["context_lengths"], step["block_tables"] = lengths.ctypes.data, tables.ctypes.data
        step["max_blocks"] = max_blocks
        self.executor.run(int(step.ctypes.data))
        assert np.isnan(self._out[num_tokens:]).all(), "rows past the step's tokens were written"
        rows = self._out[:num_tokens].reshape(num_tokens, shape.num_heads, shape.head_dim)
        return [rows[starts[i] : starts[i + 1]].copy() for i in range(len(chunks))]
