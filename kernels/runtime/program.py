"""A program: a flat list of op records, their buffers in one arena, and the kernel slots they are charged to.

Built once from a model's architecture, walked by the executor at every step. Knows no op and no model.

    builder = ProgramBuilder()
    x = builder.buffer("x", np.float32, (max_tokens, dim))
    slot = KernelSlot("embed", "embedding_q8_0")
    builder.op("embed", record=EMBEDDING, run=address, slots=(slot,), args={"out": x, "dim": dim})
    program = builder.build()
"""

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.runtime.abi import (
    CACHE_LINE,
    MAX_VARIANTS,
    OP_BYTES,
    OP_HEADER,
    OP_HEADER_BYTES,
    STEP,
    THREAD,
    Record,
    op_record,
)
from kernels.runtime.ahead import Stream, streams_ahead

__all__ = [
    "OP_BYTES",
    "OP_HEADER",
    "OP_HEADER_BYTES",
    "STEP",
    "THREAD",
    "Buffer",
    "KernelSlot",
    "Program",
    "ProgramBuilder",
    "Record",
    "op_record",
]

# A buffer may be read up to this far past its end by full-width vector loads.
BUFFER_TAIL_BYTES: Final = 2 * CACHE_LINE
# Rows so far apart have one or two sets of an L1 for a column of them, fewer ways than a tile has rows.
FEW_SETS_BYTES: Final = 2048


@dataclass(frozen=True, slots=True)
class Buffer:
    """A range of the arena: `shape` elements of `dtype` at `offset` bytes. `gap`: bytes behind each row."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    gap: int = 0

    @property
    def num_bytes(self) -> int:
        return self.shape[0] * self.row_bytes

    def at(self, num_bytes: int) -> "Buffer":
        """The same rows, addressed from `num_bytes` into the first one: a column range of the buffer."""
        return replace(self, offset=self.offset + num_bytes)

    @property
    def row_bytes(self) -> int:
        """Bytes from one index of the first axis to the next."""
        return self.payload_bytes + self.gap

    @property
    def payload_bytes(self) -> int:
        """Of those, what elements take."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class KernelSlot:
    """What one variant of an op is charged to. Equal slots share their counters.

    A call moves `bytes_per_call + units * bytes_per_unit` bytes and does `operations_per_call +
    units * operations_per_unit` operations (a multiply and an add are two), where `units` is what the op reports: rows
    of the batch, as a rule. A call without units had nothing to do: it moves nothing.
    """

    op: str
    kernel: str
    bytes_per_call: int = 0
    bytes_per_unit: int = 0
    operations_per_call: int = 0
    operations_per_unit: int = 0

    def num_bytes(self, calls: int, units: int) -> int:
        """Of so many calls that had units."""
        return calls * self.bytes_per_call + units * self.bytes_per_unit

    def num_operations(self, calls: int, units: int) -> int:
        return calls * self.operations_per_call + units * self.operations_per_unit


@dataclass(frozen=True, slots=True)
class Program:
    """Immutable once built; `records` hold absolute addresses into `arena` and into what `kept` keeps alive."""

    records: npt.NDArray[np.uint8]  # u8[num_ops, OP_BYTES], 64-byte aligned
    arena: npt.NDArray[np.uint8]
    op_names: tuple[str, ...]
    slots: tuple[KernelSlot, ...]
    buffers: Mapping[str, Buffer]
    marks: Mapping[str, int]
    """Places between ops, by name: the index of the op that follows."""
    ahead: npt.NDArray[np.void]  # AHEAD[num_ops]
    scratch_bytes: int  # thread-private bytes that some op asked for
    kept: tuple[object, ...] = field(repr=False)

    @property
    def num_ops(self) -> int:
        return len(self.op_names)

    def address(self, buffer: Buffer) -> int:
        return int(self.arena.ctypes.data) + buffer.offset

    def view(self, buffer: Buffer) -> npt.NDArray[Any]:
        """The buffer as an array, for tests and for looking inside a step."""
        raw = self.arena[buffer.offset : buffer.offset + buffer.num_bytes].reshape(-1, buffer.row_bytes)
        return raw[:, : buffer.payload_bytes].view(buffer.dtype).reshape(buffer.shape)


@dataclass(frozen=True, slots=True)
class _PendingOp:
    name: str
    record: Record
    run: int
    slots: tuple[int, ...]
    args: Mapping[str, int | float | Buffer]
    stream: Stream | None


class ProgramBuilder:
    """Collects buffers and ops, then lays them out. Used once."""

    def __init__(self) -> None:
        self._buffers: dict[str, Buffer] = {}
        self._arena_bytes = 0
        self._ops: list[_PendingOp] = []
        self._slots: dict[KernelSlot, int] = {}
        self._marks: dict[str, int] = {}
        self._scratch_bytes = 0
        self._kept: list[object] = []

    def buffer(self, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...], *, is_spread: bool = False) -> Buffer:
        """Reserve zeroed room in the arena, 64-byte aligned. Layers share a buffer by sharing the returned value.

        is_spread: rows never lie a multiple of 2 KiB apart, or a column of them would share a set or two of an L1.
        """
        assert name not in self._buffers, f"buffer {name} exists"
        assert all(size > 0 for size in shape), f"buffer {name} has shape {shape}"
        made = Buffer(name, np.dtype(dtype), shape, self._arena_bytes)
        if is_spread and made.payload_bytes % FEW_SETS_BYTES == 0:
            made = replace(made, gap=CACHE_LINE)
        self._buffers[name] = made
        end = made.offset + made.num_bytes + BUFFER_TAIL_BYTES
        self._arena_bytes = -(-end // CACHE_LINE) * CACHE_LINE
        return made

    def scratch(self, num_bytes: int) -> None:
        """Ask for thread-private scratch; every thread gets the most that any op asked for."""
        self._scratch_bytes = max(self._scratch_bytes, num_bytes)

    def keep(self, *objects: object) -> None:
        """Keep alive what addresses in op arguments point to: mappings, packed weights, compiled objects."""
        self._kept.extend(objects)

    def op(
        self,
        name: str,
        *,
        record: Record,
        run: int,
        slots: tuple[KernelSlot, ...],
        args: Mapping[str, int | float | Buffer],
        stream: Stream | None = None,
    ) -> None:
        """Append an op. `slots`: of its variants in order. `args` fills every argument field of `record`; a Buffer
        stands for its address. `stream`: what a decode's threads may ask for while they wait to read it."""
        header = set(OP_HEADER.names or ())
        fields = set(record.names or ()) - header
        assert record.itemsize == OP_BYTES, f"record of {name} has {record.itemsize} bytes"
        assert fields == set(args), f"op {name}: arguments {sorted(fields ^ set(args))} missing or unknown"
        assert 0 < len(slots) <= MAX_VARIANTS, f"op {name} has {len(slots)} variants"
        indices = tuple(self._slot(slot) for slot in slots)
        indices += indices[-1:] * (MAX_VARIANTS - len(slots))
        self._ops.append(_PendingOp(name, record, run, indices, dict(args), stream))

    def mark(self, name: str) -> None:
        """Name the place before the next op: a step can be walked up to it, and from it."""
        assert name not in self._marks, f"mark {name} exists"
        self._marks[name] = len(self._ops)

    def _slot(self, slot: KernelSlot) -> int:
        return self._slots.setdefault(slot, len(self._slots))

    def build(self) -> Program:
        arena = _small_pages(self._arena_bytes)
        base = int(arena.ctypes.data)
        records = aligned_zeros(max(1, len(self._ops)) * OP_BYTES, CACHE_LINE)[: len(self._ops) * OP_BYTES]
        for index, pending in enumerate(self._ops):
            row = records[index * OP_BYTES : (index + 1) * OP_BYTES].view(pending.record)
            row["run"], row["slots"], row["op_index"] = pending.run, pending.slots, index
            for name, value in pending.args.items():
                row[name] = base + value.offset if isinstance(value, Buffer) else value
        return Program(
            records=records.reshape(-1, OP_BYTES),
            arena=arena,
            op_names=tuple(pending.name for pending in self._ops),
            slots=tuple(self._slots),
            ahead=streams_ahead([pending.stream for pending in self._ops]),
            buffers=dict(self._buffers),
            marks=dict(self._marks),
            scratch_bytes=self._scratch_bytes,
            kept=tuple(self._kept),
        )


def _small_pages(num_bytes: int) -> npt.NDArray[np.uint8]:
    """Zeroed memory: the first rows of a buffer, all that most steps need, do not take a huge page. (Prefill and decode
    of SmolLM2 and of Llama 3.2 1B's shapes are as fast as with huge pages.)"""
    mapping = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(mapping, np.uint8, num_bytes)


def aligned_zeros(num_bytes: int, alignment: int) -> npt.NDArray[np.uint8]:
    """Zeroed memory whose address is a multiple of `alignment`."""
    raw = np.zeros(num_bytes + alignment, np.uint8)
    start = -int(raw.ctypes.data) % alignment
    return raw[start : start + num_bytes]
