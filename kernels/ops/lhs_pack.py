"""Makes rows of activations and packs them as the LHS of a matmul, once per op. Knows no layout and no model.

    plain:    the rows of x
    rms_norm: x += delta (if any), then the RMS norm of each row; of the sampled rows alone for the logits. The delta
              may get a bias and a norm of its own first
    swiglu:   silu(gate) * up, geglu: gelu(gate) * up; gate and up may get a bias first

A row is made in a thread's scratch and packed while it is in the cache: it never exists in memory as f32. Panels of the
GEMM's layout are divided among the team, or parts of them along K where they are few, and neither the layout nor the
rows have to be seen whole; rows of a panel share cache lines. A single row goes to the GEMV's layout (variant 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, TypeAlias

from kernels.families.variant import MatmulVariant
from kernels.jit.call import call_kernel
from kernels.jit.function import NativeFunction, inlined, op_function
from kernels.jit.library import KernelLibrary
from kernels.jit.native import record
from kernels.jit.vector import LANES
from kernels.ops.lhs_rows import geglu_rows, normed_rows, plain_rows, sampled_rows, swiglu_rows
from kernels.runtime.abi import STEP, THREAD, op_record
from kernels.runtime.chunks import chunk_size, take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder
from kernels.select import MatmulChoice

MAX_CHUNK_ROWS: Final = 16
LEAST_PART: Final = 128  # of a panel's rows; a shorter one is made sooner than another thread takes it
LEAST_ROW_PART: Final = 512  # of a single row

LHS_PACK: Final = op_record(
    [
        ("x", "i8"),  # f32 rows, x_stride bytes apart
        ("x_stride", "i8"),
        ("delta", "i8"),  # f32 rows, delta_stride bytes apart; 0: none
        ("delta_stride", "i8"),
        ("weight", "i8"),  # f32[k]
        ("eps", "f4"),
        ("bias", "i8"),  # of delta f32[k], or of gate and up f32[2k]; 0: none
        ("delta_norm", "i8"),  # f32[k], the weight of delta's own RMS norm; 0: none
        ("k", "i8"),
        ("is_logits", "i8"),  # as many rows as are sampled, not as tokens
        ("row_stride", "i8"),  # of the rows that are packed: those of x, or made in scratch
        ("pack_gemm", "i8"),  # micro-kernels
        ("pack_gemv", "i8"),
        ("mr", "i8"),
        ("panel_bytes", "i8"),
        ("gemm_part_elements", "i8"),  # of K, the least that is packed by itself
        ("gemm_part_bytes", "i8"),  # of a panel's so many elements; 0: it is packed whole
        ("gemv_part_elements", "i8"),
        ("gemv_part_bytes", "i8"),
        ("dst", "i8"),
    ]
)


@inlined
def _part_size(k: int, num_parts: int, least: int, step: int) -> int:
    """Elements of K, whole steps of them, so that there are about so many parts."""
    steps = (k + num_parts * step - 1) // (num_parts * step)
    return max(least, steps * step)


@inlined
def _pack(op_address: int, thread_address: int, make: Any) -> int:
    """`make(op, step, row, count, first, size, scratch)` -> address of elements first..first+size of rows
    row..row+count, row_stride bytes apart."""
    op: Any = record(op_address, LHS_PACK)
    thread: Any = record(thread_address, THREAD)
    step: Any = record(thread.step, STEP)
    num_rows = step.num_logit_rows if op.is_logits else step.num_tokens
    thread.units = num_rows
    k: Any = op.k
    if num_rows == 1:
        step_size: Any = op.gemv_part_elements
        part = k if op.gemv_part_bytes == 0 else _part_size(k, thread.num_threads, LEAST_ROW_PART, step_size)
        while True:
            first = take_chunk(op, thread, part, k)
            if first >= k:
                return 1
            size = min(part, k - first)
            rows = make(op, step, 0, 1, first, size, thread.scratch)
            at = first // step_size * op.gemv_part_bytes
            call_kernel(op.pack_gemv, (1, size, rows, op.row_stride, op.dst + at))
    num_panels = (num_rows + op.mr - 1) // op.mr
    if op.gemm_part_bytes != 0 and num_panels < thread.num_threads:
        part = _part_size(k, 4 * thread.num_threads // num_panels, LEAST_PART, op.gemm_part_elements)
        num_parts = (k + part - 1) // part
        num_chunks = num_parts * num_panels
        while True:
            chunk = take_chunk(op, thread, 1, num_chunks)
            if chunk >= num_chunks:
                return 0
            row, first = chunk // num_parts * op.mr, chunk % num_parts * part
            count, size = min(op.mr, num_rows - row), min(part, k - first)
            rows = make(op, step, row, count, first, size, thread.scratch)
            at = op.panel_bytes * (chunk // num_parts) + first // op.gemm_part_elements * op.gemm_part_bytes
            call_kernel(op.pack_gemm, (count, size, rows, op.row_stride, op.dst + at))
    size = chunk_size(num_panels, thread.num_threads, max(1, MAX_CHUNK_ROWS // op.mr))
    while True:
        first = take_chunk(op, thread, size, num_panels)
        if first >= num_panels:
            return 0
        for panel in range(first, min(first + size, num_panels)):
            row = panel * op.mr
            count = min(op.mr, num_rows - row)
            rows = make(op, step, row, count, 0, k, thread.scratch)
            call_kernel(op.pack_gemm, (count, k, rows, op.row_stride, op.dst + op.panel_bytes * panel))


@op_function
def pack_plain(op_address: int, thread_address: int) -> int:
    return _pack(op_address, thread_address, plain_rows)


@op_function
def pack_normed(op_address: int, thread_address: int) -> int:
    return _pack(op_address, thread_address, normed_rows)


@op_function
def pack_sampled(op_address: int, thread_address: int) -> int:
    return _pack(op_address, thread_address, sampled_rows)


@op_function
def pack_swiglu(op_address: int, thread_address: int) -> int:
    return _pack(op_address, thread_address, swiglu_rows)


@op_function
def pack_geglu(op_address: int, thread_address: int) -> int:
    return _pack(op_address, thread_address, geglu_rows)


@dataclass(frozen=True, slots=True)
class PlainRows:
    """x: f32[T, k] or, for the logits, f32[R, k]."""

    x: Buffer
    kernel: ClassVar[str] = ""
    delta: ClassVar[None] = None
    weight: ClassVar[int] = 0
    eps: ClassVar[float] = 0.0
    bias: ClassVar[int] = 0
    delta_norm: ClassVar[int] = 0

    def function(self, is_logits: bool) -> NativeFunction:
        return pack_plain

    def again(self) -> PlainRows:
        """What packs the same rows once more, for another layout."""
        return self


@dataclass(frozen=True, slots=True)
class NormedRows:
    """x, delta: f32[T, k]; weight: address of f32[k]. x += delta stays in x, except for the logits.

    bias, delta_norm: addresses of f32[k] for the delta before it is added, 0 without.
    """

    x: Buffer
    weight: int
    eps: float
    delta: Buffer | None = None
    bias: int = 0
    delta_norm: int = 0

    @property
    def kernel(self) -> str:
        if self.delta_norm:
            return "rms_norm_add_rms_norm_"
        return "add_rms_norm_" if self.delta else "rms_norm_"

    def function(self, is_logits: bool) -> NativeFunction:
        return pack_sampled if is_logits else pack_normed

    def again(self) -> NormedRows:
        """x holds the delta by then."""
        return replace(self, delta=None, bias=0, delta_norm=0)


@dataclass(frozen=True, slots=True)
class SwigluRows:
    """x: f32[T, 2k], gates first; bias: address of f32[2k], 0 without."""

    x: Buffer
    bias: int = 0
    kernel: ClassVar[str] = "swiglu_"
    delta: ClassVar[None] = None
    weight: ClassVar[int] = 0
    eps: ClassVar[float] = 0.0
    delta_norm: ClassVar[int] = 0

    def function(self, is_logits: bool) -> NativeFunction:
        assert not is_logits, "the logits take no SwiGLU"
        return pack_swiglu

    def again(self) -> SwigluRows:
        """x holds the bias by then."""
        return replace(self, bias=0)


class GegluRows(SwigluRows):
    """As SwigluRows, with GELU."""

    __slots__ = ()
    kernel: ClassVar[str] = "geglu_"

    def function(self, is_logits: bool) -> NativeFunction:
        assert not is_logits, "the logits take no GeGLU"
        return pack_geglu


LhsRows: TypeAlias = PlainRows | NormedRows | SwigluRows


@dataclass(frozen=True, slots=True)
class LhsPackOp:
    """Where it stands in a program. `choice`: of the matmul, or of one of those, that read `dst`."""

    name: str
    choice: MatmulChoice
    rows: LhsRows
    k: int
    dst: Buffer
    is_logits: bool = False

    def add(self, builder: ProgramBuilder, library: KernelLibrary) -> None:
        assert self.k % LANES == 0, f"rows of {self.k} are no multiple of {LANES}"
        gemm, gemv = self.choice.gemm, self.choice.gemv
        library.load([(variant.lhs_pack.name, variant.lhs_pack.emit) for variant in (gemm, gemv)])
        builder.scratch(4 * self.k * gemm.lhs.mr)
        rows, delta = self.rows, self.rows.delta
        args: dict[str, int | float | Buffer] = {
            "x": rows.x,
            "x_stride": rows.x.row_bytes,
            "delta": delta or 0,
            "delta_stride": delta.row_bytes if delta else 0,
            "weight": rows.weight,
            "eps": rows.eps,
            "bias": rows.bias,
            "delta_norm": rows.delta_norm,
            "k": self.k,
            "is_logits": int(self.is_logits),
            "row_stride": rows.x.row_bytes if isinstance(rows, PlainRows) else 4 * self.k,
            "pack_gemm": library.address(gemm.lhs_pack.name),
            "pack_gemv": library.address(gemv.lhs_pack.name),
            "mr": gemm.lhs.mr,
            "panel_bytes": gemm.lhs.panel_bytes(self.k),
            "gemm_part_elements": gemm.lhs.part_elements,
            "gemm_part_bytes": 0 if isinstance(rows, NormedRows) else gemm.lhs.part_bytes,
            "gemv_part_elements": gemv.lhs.part_elements,
            "gemv_part_bytes": 0 if isinstance(rows, NormedRows) else gemv.lhs.part_bytes,
            "dst": self.dst,
        }
        run = rows.function(self.is_logits).address
        builder.op(self.name, record=LHS_PACK, run=run, slots=(self._slot(gemm), self._slot(gemv)), args=args)

    def _slot(self, variant: MatmulVariant) -> KernelSlot:
        moved = self.rows.x.payload_bytes * (3 if self.rows.delta else 1)
        packed = variant.lhs.panel_bytes(self.k) // variant.lhs.mr
        return KernelSlot(self.name, self.rows.kernel + variant.lhs_pack.name, bytes_per_unit=moved + packed)
