"""RMS norm, with the residual add before it and the gather of sampled rows. Knows no model.

    rms_norm:    x += delta (if any);           out f32[T, dim] = x / sqrt(mean(x^2) + eps) * weight
    sampled_norm: the same for the rows of x that are sampled, out f32[R, dim]; x stays as it is
    residual_add: x += delta

The sum of squares has 32 partial sums, element i in sum i mod 32, then a fixed tree.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.jit.function import native, op_function
from kernels.jit.native import load, record, store
from kernels.jit.vector import LANES, f32x16, fma, load_f32x16, store_f32x16, sum_lanes
from kernels.runtime.abi import STEP, THREAD, Record, op_record
from kernels.runtime.chunks import chunk_size, take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

MAX_CHUNK_ROWS: Final = 16

RMS_NORM: Final[Record] = op_record(
    [
        ("x", "i8"),  # f32[T, dim]
        ("delta", "i8"),  # f32[T, dim], 0: none
        ("weight", "i8"),  # f32[dim]
        ("out", "i8"),  # f32[T or R, dim]
        ("dim", "i8"),
        ("eps", "f4"),
    ]
)


@native
def rms_norm_row(x: int, weight: int, out: int, n: int, eps: float) -> None:
    """One row; `out` may be `x`. eps is f32."""
    even, odd = f32x16(np.float32(0)), f32x16(np.float32(0))
    pairs, whole = n - n % (2 * LANES), n - n % LANES
    for i in range(0, pairs, 2 * LANES):
        low, high = load_f32x16(x + 4 * i), load_f32x16(x + 4 * i + 4 * LANES)
        even = fma(low, low, even)
        odd = fma(high, high, odd)
    if whole > pairs:
        low = load_f32x16(x + 4 * pairs)
        even = fma(low, low, even)
    total = sum_lanes(even + odd)
    for i in range(whole, n):
        value = load(x + 4 * i, np.float32)
        total = fma(value, value, total)
    scale = np.float32(1) / np.sqrt(total / np.float32(n) + np.float32(eps))
    scales = f32x16(scale)
    for i in range(0, whole, LANES):
        store_f32x16(out + 4 * i, load_f32x16(x + 4 * i) * scales * load_f32x16(weight + 4 * i))
    for i in range(whole, n):
        value = load(x + 4 * i, np.float32) * scale * load(weight + 4 * i, np.float32)
        store(out + 4 * i, value, np.float32)


@native
def add_row(x: int, delta: int, out: int, n: int) -> None:
    """out = x + delta; `out` may be `x`."""
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store_f32x16(out + 4 * i, load_f32x16(x + 4 * i) + load_f32x16(delta + 4 * i))
    for i in range(whole, n):
        store(out + 4 * i, load(x + 4 * i, np.float32) + load(delta + 4 * i, np.float32), np.float32)


@op_function
def rms_norm(op_address: int, thread_address: int) -> int:
    op, thread = record(op_address, RMS_NORM), record(thread_address, THREAD)
    num_rows = record(thread.step, STEP).num_tokens
    size, stride = chunk_size(num_rows, thread.num_threads, MAX_CHUNK_ROWS), 4 * op.dim
    while True:
        first = take_chunk(op, thread, size)
        if first >= num_rows:
            break
        for row in range(first, min(first + size, num_rows)):
            x = op.x + stride * row
            if op.delta != 0:
                add_row(x, op.delta + stride * row, x, op.dim)
            rms_norm_row(x, op.weight, op.out + stride * row, op.dim, op.eps)
    thread.units = num_rows
    return 0


@op_function
def sampled_norm(op_address: int, thread_address: int) -> int:
    op, thread = record(op_address, RMS_NORM), record(thread_address, THREAD)
    step = record(thread.step, STEP)
    num_rows = step.num_logit_rows
    size, stride = chunk_size(num_rows, thread.num_threads, MAX_CHUNK_ROWS), 4 * op.dim
    while True:
        first = take_chunk(op, thread, size)
        if first >= num_rows:
            break
        for row in range(first, min(first + size, num_rows)):
            token, out = np.int64(load(step.logit_rows + 4 * row, np.int32)), op.out + stride * row
            x = op.x + stride * token
            if op.delta != 0:
                add_row(x, op.delta + stride * token, out, op.dim)
                x = out
            rms_norm_row(x, op.weight, out, op.dim, op.eps)
    thread.units = num_rows
    return 0


@op_function
def residual_add(op_address: int, thread_address: int) -> int:
    op, thread = record(op_address, RMS_NORM), record(thread_address, THREAD)
    num_rows = record(thread.step, STEP).num_tokens
    size, stride = chunk_size(num_rows, thread.num_threads, MAX_CHUNK_ROWS), 4 * op.dim
    while True:
        first = take_chunk(op, thread, size)
        if first >= num_rows:
            break
        for row in range(first, min(first + size, num_rows)):
            add_row(op.x + stride * row, op.delta + stride * row, op.x + stride * row, op.dim)
    thread.units = num_rows
    return 0


@dataclass(frozen=True, slots=True)
class RmsNormOp:
    """x, delta: f32[T, dim]; weight: address of f32[dim]; out: f32[T, dim], or f32[R, dim] with `sampled_rows`."""

    name: str
    x: Buffer
    weight: int
    out: Buffer
    eps: float
    delta: Buffer | None = None
    sampled_rows: bool = False

    def add(self, builder: ProgramBuilder) -> None:
        dim, row_bytes = self.x.shape[1], self.x.row_bytes
        function = sampled_norm if self.sampled_rows else rms_norm
        kernel = ("gather_" if self.sampled_rows else "") + ("add_" if self.delta else "") + "rms_norm_f32"
        moved = 2 + (2 if self.delta else 0)
        slot = KernelSlot(self.name, kernel, bytes_per_unit=moved * row_bytes, operations_per_unit=4 * dim)
        args: dict[str, int | float | Buffer] = {
            "x": self.x,
            "delta": self.delta or 0,
            "weight": self.weight,
            "out": self.out,
            "dim": dim,
            "eps": self.eps,
        }
        builder.op(self.name, record=RMS_NORM, run=function.address, slots=(slot,), args=args)


@dataclass(frozen=True, slots=True)
class ResidualAddOp:
    """x += delta, both f32[T, dim]."""

    name: str
    x: Buffer
    delta: Buffer

    def add(self, builder: ProgramBuilder) -> None:
        dim, row_bytes = self.x.shape[1], self.x.row_bytes
        slot = KernelSlot(self.name, "residual_add_f32", bytes_per_unit=3 * row_bytes, operations_per_unit=dim)
        args: dict[str, int | float | Buffer] = {
            "x": self.x,
            "delta": self.delta,
            "weight": 0,
            "out": 0,
            "dim": dim,
            "eps": 0.0,
        }
        builder.op(self.name, record=RMS_NORM, run=residual_add.address, slots=(slot,), args=args)


def rms_normalise(x: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], eps: float) -> npt.NDArray[np.float32]:
    """The twin, in f64: x f32[T, dim] -> f32[T, dim]."""
    wide = x.astype(np.float64)
    scale = 1 / np.sqrt((wide * wide).mean(axis=-1, keepdims=True) + eps)
    normalised: npt.NDArray[np.float32] = (wide * scale * weight).astype(np.float32)
    return normalised
