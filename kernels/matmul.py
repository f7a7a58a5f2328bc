"""The one macro-kernel: divides a matmul among the team and calls the micro-kernels. Knows no family.

    dst f32[rows, n] = packed LHS x packed RHS; rows = the step's tokens, or its sampled rows

One row takes the GEMV (variant 1), more take the GEMM (variant 0); both read the same packed RHS. Work is cut into
chunks of columns x rows that threads take as they come, so an unequal or descheduled core takes fewer.
Which thread computes a chunk changes no bit: a micro-kernel's result does not depend on the portion it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from kernels.cpu.caches import second_level_bytes
from kernels.families.variant import MatmulVariant
from kernels.jit.function import inlined, intrinsic, op_function
from kernels.jit.library import KernelLibrary
from kernels.jit.native import record
from kernels.jit.numba_types import nb, signature
from kernels.runtime.abi import STEP, THREAD, op_record
from kernels.runtime.ahead import Stream
from kernels.runtime.chunks import take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder
from kernels.select import MatmulChoice

MATMUL: Final = op_record(
    [
        ("lhs", "i8"),
        ("rhs", "i8"),
        ("dst", "i8"),
        ("dst_stride", "i8"),
        ("n", "i8"),
        ("k", "i8"),
        ("is_logits", "i8"),
        ("gemm", "i8"),
        ("gemv", "i8"),
        ("mr", "i8"),
        ("lhs_panel_bytes", "i8"),
        ("nr", "i8"),
        ("rhs_panel_bytes", "i8"),
        ("row_step", "i8"),
        ("most_rows", "i8"),
        ("column_chunk", "i8"),
        ("gemv_chunk", "i8"),
    ]
)
CHUNKS_PER_THREAD = 4  # so that the last chunk of a slow core is at most a few per cent of the op
GEMV_CHUNK_BYTES = 1 << 17  # about: a thread that asked ahead is done first; half as much costs 1 % of a 1B decode
LHS_SHARE_OF_L2 = 2  # rows of LHS that stay in half of a core's L2 while the panels of the RHS pass by
MIN_CHUNK_ROWS = 48  # even if they do not: fewer read and unpack the RHS too often (k = 8192, Zen 3: 152 -> 175 Gop/s)


@intrinsic
def call_matmul(  # type: ignore[no-untyped-def]
    typingctx, function, m, n, k, lhs, rhs, dst, dst_stride
):
    """Call a matmul micro-kernel without a clamp; see kernels.families.variant for its C signature."""
    i64, f32 = ir.IntType(64), ir.FloatType()

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [i64] * 7 + [f32, f32])
        infinity = ir.Constant(f32, float("inf"))
        kernel = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(kernel, [*args[1:], ir.Constant(f32, float("-inf")), infinity])
        return context.get_dummy_value()

    return signature(nb.none, *[nb.int64] * 8), codegen


@op_function
def matmul(op_address: int, thread_address: int) -> int:
    op: Any = record(op_address, MATMUL)
    thread: Any = record(thread_address, THREAD)
    step: Any = record(thread.step, STEP)
    m = step.num_logit_rows if op.is_logits else step.num_tokens
    thread.units = m
    if m == 0:  # a prefill that samples nothing yet
        return 0
    if m == 1:
        while True:
            column = take_chunk(op, thread, op.gemv_chunk, op.n)
            if column >= op.n:
                return 1
            rhs = op.rhs + column // op.nr * op.rhs_panel_bytes
            width = min(op.gemv_chunk, op.n - column)
            call_matmul(op.gemv, 1, width, op.k, op.lhs, rhs, op.dst + 4 * column, op.dst_stride)
    # Rows are divided evenly: few that are left would be multiplied at a fraction of the speed.
    height = _divide_up(_divide_up(m, _divide_up(m, op.most_rows)), op.row_step) * op.row_step
    num_row_chunks = _divide_up(m, height)
    num_chunks = _divide_up(op.n, op.column_chunk) * num_row_chunks
    while True:
        chunk = take_chunk(op, thread, 1, num_chunks)
        if chunk >= num_chunks:
            return 0
        column = chunk // num_row_chunks * op.column_chunk
        row = chunk % num_row_chunks * height
        lhs = op.lhs + row // op.mr * op.lhs_panel_bytes
        rhs = op.rhs + column // op.nr * op.rhs_panel_bytes
        dst = op.dst + row * op.dst_stride + 4 * column
        width = min(op.column_chunk, op.n - column)
        call_matmul(op.gemm, min(height, m - row), width, op.k, lhs, rhs, dst, op.dst_stride)


@inlined
def _divide_up(number: int, by: int) -> int:
    return (number + by - 1) // by


@dataclass(frozen=True, slots=True)
class MatmulOp:
    """Where one matmul stands in a program. `column`: where its output begins in a row of `dst`."""

    name: str
    choice: MatmulChoice
    rhs: npt.NDArray[np.uint8]
    n: int
    k: int
    lhs: Buffer
    dst: Buffer
    column: int = 0
    is_logits: bool = False

    def add(self, builder: ProgramBuilder, library: KernelLibrary, num_threads: int) -> None:
        gemm, gemv = self.choice.gemm, self.choice.gemv
        library.load([(str(variant.name), variant.emit) for variant in (gemm, gemv)])
        row_step = _least_multiple(gemm.name.m_step, gemm.lhs.mr)
        row_bytes = gemm.lhs.panel_bytes(self.k) // gemm.lhs.mr
        rows_in_cache = second_level_bytes() // LHS_SHARE_OF_L2 // row_bytes
        least_rows = max(MIN_CHUNK_ROWS, gemm.least_rows)
        gemv_chunk = _column_chunk(self.n, _gemv_chunks(self.n, self.k, num_threads, gemv), gemv)
        args: dict[str, int | float | Buffer] = {
            "lhs": self.lhs,
            "rhs": int(self.rhs.ctypes.data),
            "dst": self.dst.at(4 * self.column),
            "dst_stride": self.dst.row_bytes,
            "n": self.n,
            "k": self.k,
            "is_logits": int(self.is_logits),
            "gemm": library.address(str(gemm.name)),
            "gemv": library.address(str(gemv.name)),
            "mr": gemm.lhs.mr,
            "lhs_panel_bytes": gemm.lhs.panel_bytes(self.k),
            "nr": gemm.rhs.nr,
            "rhs_panel_bytes": gemm.rhs.panel_bytes(self.k),
            "row_step": row_step,
            "most_rows": max(-(-least_rows // row_step), rows_in_cache // row_step) * row_step,
            "column_chunk": _column_chunk(self.n, CHUNKS_PER_THREAD * num_threads, gemm),
            "gemv_chunk": gemv_chunk,
        }
        slots = (self._slot(gemm), self._slot(gemv))
        builder.keep(self.rhs)
        builder.op(
            self.name,
            record=MATMUL,
            run=matmul.address,
            slots=slots,
            args=args,
            stream=Stream(
                address=int(self.rhs.ctypes.data),
                chunk_bytes=gemv_chunk // gemv.rhs.nr * gemv.rhs.panel_bytes(self.k),
                num_chunks=-(-self.n // gemv_chunk),
            ),
        )

    def _slot(self, variant: MatmulVariant) -> KernelSlot:
        return KernelSlot(
            self.name,
            str(variant.name),
            bytes_per_call=int(self.rhs.nbytes),
            bytes_per_unit=4 * (self.n + self.k),
            operations_per_unit=2 * self.n * self.k,
        )


def _column_chunk(n: int, num_chunks: int, variant: MatmulVariant) -> int:
    """Columns of a chunk: whole steps of the micro-kernel and whole panels, about so many chunks."""
    step = _least_multiple(variant.name.n_step, variant.rhs.nr)
    fair = -(-n // num_chunks)
    return -(-fair // step) * step


def _gemv_chunks(n: int, k: int, num_threads: int, variant: MatmulVariant) -> int:
    num_bytes = variant.rhs.panel_bytes(k) * -(-n // variant.rhs.nr)
    return max(num_bytes // GEMV_CHUNK_BYTES, CHUNKS_PER_THREAD * num_threads)


def _least_multiple(step: int, panel: int) -> int:
    """The least common multiple: a portion begins where both a tile and a panel begin."""
    return int(np.lcm(step, panel))
