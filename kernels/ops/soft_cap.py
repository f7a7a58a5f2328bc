"""Soft cap of the logits: cap * tanh(logit / cap), in place (Gemma 2, arXiv:2408.00118). Knows no model.

tanh(z) = 1 - 2 / (e^2z + 1): monotone, so a cap alone never changes the greatest logit.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import inlined, native, op_function
from kernels.jit.native import load, record, store
from kernels.jit.rearrange import first_lane
from kernels.jit.vector import LANES, f32x16, fma, load_f32x16, store_f32x16
from kernels.ops.swiglu import divide
from kernels.runtime.abi import STEP, THREAD, Record, op_record
from kernels.runtime.chunks import take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

CHUNK: Final = 4096  # logits of a unit of work

SOFT_CAP: Final[Record] = op_record(
    [
        ("logits", "i8"),  # f32[R, vocab], rows of `stride` bytes
        ("stride", "i8"),
        ("vocab", "i8"),
        ("num_chunks", "i8"),
        ("cap", "f4"),
    ]
)


@inlined
def _capped(x: Any, cap: Any) -> Any:
    """Lane by lane. e^(2x / cap) stops at 2^127, so nothing overflows. What is not finite becomes NaN and is seen."""
    rate, zero = f32x16(np.float32(2) / cap), f32x16(np.float32(0))
    power = exp_f32x16(x * rate)
    return fma(x, zero, f32x16(cap) - divide(f32x16(cap + cap), power + f32x16(np.float32(1))))


@native
def soft_cap_row(x: int, n: int, cap: float) -> None:
    """n f32 in place."""
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store_f32x16(x + 4 * i, _capped(load_f32x16(x + 4 * i), cap))
    for i in range(whole, n):
        store(x + 4 * i, first_lane(_capped(f32x16(load(x + 4 * i, np.float32)), cap)), np.float32)


@op_function
def soft_cap_logits(op_address: int, thread_address: int) -> int:
    op: Any = record(op_address, SOFT_CAP)
    thread: Any = record(thread_address, THREAD)
    step: Any = record(thread.step, STEP)
    thread.units = step.num_logit_rows
    num_tasks = step.num_logit_rows * op.num_chunks
    while True:
        task = take_chunk(op, thread, 1, num_tasks)
        if task >= num_tasks:
            return 0
        first = task % op.num_chunks * CHUNK
        soft_cap_row(op.logits + op.stride * (task // op.num_chunks) + 4 * first, min(CHUNK, op.vocab - first), op.cap)


@dataclass(frozen=True, slots=True)
class SoftCapOp:
    """logits: f32[R, vocab]."""

    name: str
    logits: Buffer
    cap: float

    def add(self, builder: ProgramBuilder) -> None:
        vocab = self.logits.shape[1]
        args: dict[str, int | float | Buffer] = {
            "logits": self.logits,
            "stride": self.logits.row_bytes,
            "vocab": vocab,
            "num_chunks": -(-vocab // CHUNK),
            "cap": self.cap,
        }
        slot = KernelSlot(self.name, "soft_cap_f32", bytes_per_unit=8 * vocab, operations_per_unit=4 * vocab)
        builder.op(self.name, record=SOFT_CAP, run=soft_cap_logits.address, slots=(slot,), args=args)


def soft_cap(logits: npt.NDArray[np.float32], cap: float) -> npt.NDArray[np.float32]:
    """The twin, in f64."""
    made: npt.NDArray[np.float32] = (cap * np.tanh(logits.astype(np.float64) / cap)).astype(np.float32)
    return made
