"""Embedding: the rows of a step's tokens, read from the model file's own format. Knows no model.

out f32[T, dim] = scale * weights[token_ids]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.errors import KernelsError
from kernels.jit.function import NativeFunction, inlined, native, op_function
from kernels.jit.native import load, record, store
from kernels.jit.vector import LANES, f32x16, load_f32x16, store_f32x16
from kernels.quant.native_channel_rows import (
    dequantise_row_8da4w_g64,
    dequantise_row_8da4w_g128,
    dequantise_row_q4cx,
    dequantise_row_qc8,
)
from kernels.quant.native_five_bit_rows import dequantise_row_iq4_nl, dequantise_row_q5_0, dequantise_row_q5_1
from kernels.quant.native_rows import (
    ROW_FORMATS,
    copy_row_f32,
    dequantise_row_bf16,
    dequantise_row_f16,
    dequantise_row_q4_0,
    dequantise_row_q4_1,
    dequantise_row_q8_0,
)
from kernels.quant.native_super_rows import (
    dequantise_row_q2_k,
    dequantise_row_q3_k,
    dequantise_row_q4_k,
    dequantise_row_q5_k,
    dequantise_row_q6_k,
)
from kernels.runtime.abi import STEP, THREAD, Record, op_record
from kernels.runtime.chunks import chunk_size, take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

MAX_CHUNK_ROWS: Final = 16

EMBEDDING: Final[Record] = op_record(
    [
        ("weights", "i8"),  # num_rows rows of row_bytes, in the source's format
        ("row_bytes", "i8"),
        ("num_rows", "i8"),
        ("out", "i8"),  # f32[T, dim], rows out_stride bytes apart
        ("out_stride", "i8"),
        ("dim", "i8"),
        ("scale", "f4"),
    ]
)


@native
def scale_row(x: int, scale: float, n: int) -> None:
    whole, scales = n - n % LANES, f32x16(scale)
    for i in range(0, whole, LANES):
        store_f32x16(x + 4 * i, load_f32x16(x + 4 * i) * scales)
    for i in range(whole, n):
        store(x + 4 * i, load(x + 4 * i, np.float32) * scale, np.float32)


@inlined
def _embed(op_address: int, thread_address: int, dequantise: Any) -> int:
    op, thread = record(op_address, EMBEDDING), record(thread_address, THREAD)
    step = record(thread.step, STEP)
    size = chunk_size(step.num_tokens, thread.num_threads, MAX_CHUNK_ROWS)
    while True:
        first = take_chunk(op, thread, size, step.num_tokens)
        if first >= step.num_tokens:
            break
        for row in range(first, min(first + size, step.num_tokens)):
            token, out = np.int64(load(step.token_ids + 4 * row, np.int32)), op.out + op.out_stride * row
            if token < 0 or token >= op.num_rows:
                # Callers check; a wild read would be worse than a zero row.
                for i in range(op.dim):
                    store(out + 4 * i, np.float32(0), np.float32)
                continue
            dequantise(op.weights + op.row_bytes * token, out, op.dim)
            if op.scale != np.float32(1):
                scale_row(out, op.scale, op.dim)
    thread.units = step.num_tokens
    return 0


@op_function
def embed_q4_0(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q4_0)


@op_function
def embed_q4_1(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q4_1)


@op_function
def embed_q8_0(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q8_0)


@op_function
def embed_q5_0(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q5_0)


@op_function
def embed_q5_1(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q5_1)


@op_function
def embed_iq4_nl(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_iq4_nl)


@op_function
def embed_q2_k(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q2_k)


@op_function
def embed_q3_k(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q3_k)


@op_function
def embed_q4_k(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q4_k)


@op_function
def embed_q5_k(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q5_k)


@op_function
def embed_q6_k(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q6_k)


@op_function
def embed_f16(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_f16)


@op_function
def embed_bf16(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_bf16)


@op_function
def embed_f32(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, copy_row_f32)


@op_function
def embed_qc8(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_qc8)


@op_function
def embed_q4cx(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_q4cx)


@op_function
def embed_8da4w_g64(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_8da4w_g64)


@op_function
def embed_8da4w_g128(op_address: int, thread_address: int) -> int:
    return _embed(op_address, thread_address, dequantise_row_8da4w_g128)


EMBEDDINGS: Final[Mapping[str, NativeFunction]] = {
    "Q4_0": embed_q4_0,
    "Q4_1": embed_q4_1,
    "Q8_0": embed_q8_0,
    "Q5_0": embed_q5_0,
    "Q5_1": embed_q5_1,
    "IQ4_NL": embed_iq4_nl,
    "Q2_K": embed_q2_k,
    "Q3_K": embed_q3_k,
    "Q4_K": embed_q4_k,
    "Q5_K": embed_q5_k,
    "Q6_K": embed_q6_k,
    "F16": embed_f16,
    "BF16": embed_bf16,
    "F32": embed_f32,
    "gemmule.QC8": embed_qc8,
    "gemmule.Q4CX": embed_q4cx,
    "gemmule.8DA4W_G32": embed_q4_0,
    "gemmule.8DA4W_G64": embed_8da4w_g64,
    "gemmule.8DA4W_G128": embed_8da4w_g128,
}


@dataclass(frozen=True, slots=True)
class EmbeddingOp:
    """weights: address of num_rows rows in `form` (a key of EMBEDDINGS); out: f32[T, dim]."""

    name: str
    form: str
    weights: int
    num_rows: int
    out: Buffer
    scale: float = 1.0

    def add(self, builder: ProgramBuilder) -> None:
        if self.form not in EMBEDDINGS:
            raise KernelsError(f"no embedding for rows of {self.form}; there are {', '.join(EMBEDDINGS)}")
        form = ROW_FORMATS[self.form]
        dim = self.out.shape[1]
        assert dim % form.block == 0, f"rows of {dim} in blocks of {form.block}"
        row_bytes = form.row_bytes(dim)
        args: dict[str, int | float | Buffer] = {
            "weights": self.weights,
            "row_bytes": row_bytes,
            "num_rows": self.num_rows,
            "out": self.out,
            "out_stride": self.out.row_bytes,
            "dim": dim,
            "scale": self.scale,
        }
        kernel = f"embedding_f32_{self.form.removeprefix('gemmule.').lower()}"
        slot = KernelSlot(
            self.name, kernel, bytes_per_unit=row_bytes + self.out.payload_bytes, operations_per_unit=2 * dim
        )
        builder.op(self.name, record=EMBEDDING, run=EMBEDDINGS[self.form].address, slots=(slot,), args=args)


def embed(rows: npt.NDArray[np.float32], token_ids: npt.NDArray[np.int32], scale: float) -> npt.NDArray[np.float32]:
    """The twin: rows f32[V, dim], dequantised; -> f32[T, dim]."""
    return rows[token_ids] * np.float32(scale)
