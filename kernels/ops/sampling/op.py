"""The two ops of sampling and how they enter a program: partials by chunk, then a token by row. See the package.

Both are shared by the team: chunks of all rows are one list of work, rows are another.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kernels.jit.function import op_function
from kernels.jit.native import record
from kernels.ops.sampling.partials import CHUNK, GROUP, PARTIAL_BYTES, copy_padded, reduce_chunk
from kernels.ops.sampling.row import SAMPLING_BYTES, partials_inverse_temperature, sample_row
from kernels.ops.sampling.select import NUM_ARRAYS, NUM_BINS
from kernels.runtime.abi import SAMPLING, STEP, THREAD, Record, op_record
from kernels.runtime.chunks import take_chunk
from kernels.runtime.program import Buffer, KernelSlot, ProgramBuilder

SAMPLING_MARK: Final = "sampling"
"""Where a program's logits are done: from there on a step reads SAMPLING, and nothing before does."""
BINS_BYTES: Final = 8 * NUM_BINS

SAMPLE: Final[Record] = op_record(
    [
        ("logits", "i8"),  # f32[R, vocab], rows of `stride` bytes
        ("stride", "i8"),
        ("vocab", "i8"),
        ("partials", "i8"),  # f32[R, num_chunks, 4]
        ("num_chunks", "i8"),
        ("groups", "i8"),  # f32[R, num_groups]
        ("num_groups", "i8"),
        ("array_bytes", "i8"),  # of one array over the vocabulary, padded
    ]
)


@op_function
def reduce_logits(op_address: int, thread_address: int) -> int:
    op, thread = record(op_address, SAMPLE), record(thread_address, THREAD)
    step = record(thread.step, STEP)
    num_tasks = step.num_logit_rows * op.num_chunks
    while True:
        task = take_chunk(op, thread, 1, num_tasks)
        if task >= num_tasks:
            break
        row, chunk = task // op.num_chunks, task % op.num_chunks
        sampling = record(step.sampling + SAMPLING_BYTES * row, SAMPLING)
        count: Any = min(CHUNK, op.vocab - CHUNK * chunk)
        logits = op.logits + op.stride * row + 4 * CHUNK * chunk
        if count % GROUP != 0:
            count = copy_padded(logits, count, thread.scratch)
            logits = thread.scratch
        groups = op.groups + 4 * (op.num_groups * row + CHUNK // GROUP * chunk)
        partial = op.partials + PARTIAL_BYTES * task
        reduce_chunk(logits, count, partials_inverse_temperature(sampling, op.vocab), groups, partial)
    thread.units = step.num_logit_rows
    return 0


@op_function
def sample_rows(op_address: int, thread_address: int) -> int:
    op, thread = record(op_address, SAMPLE), record(thread_address, THREAD)
    step = record(thread.step, STEP)
    while True:
        row = take_chunk(op, thread, 1, step.num_logit_rows)
        if row >= step.num_logit_rows:
            break
        sample_row(op, step, row, thread.scratch)
    thread.units = step.num_logit_rows
    return 0


@dataclass(frozen=True, slots=True)
class SampleOp:
    """logits: f32[R, vocab]; row r is sampled as the step's SAMPLING[r] says, into its SAMPLED[r]."""

    name: str
    logits: Buffer

    def add(self, builder: ProgramBuilder) -> None:
        num_rows, vocab = self.logits.shape
        num_chunks, num_groups = -(-vocab // CHUNK), -(-vocab // GROUP)
        array_bytes = 4 * GROUP * num_groups
        builder.scratch(max(NUM_ARRAYS * array_bytes + BINS_BYTES, 4 * CHUNK))
        args: dict[str, int | float | Buffer] = {
            "logits": self.logits,
            "stride": self.logits.row_bytes,
            "vocab": vocab,
            "partials": builder.buffer(f"{self.name}_partials", np.float32, (num_rows, num_chunks, 4)),
            "num_chunks": num_chunks,
            "groups": builder.buffer(f"{self.name}_groups", np.float32, (num_rows, num_groups)),
            "num_groups": num_groups,
            "array_bytes": array_bytes,
        }
        partials = KernelSlot(
            self.name, "softmax_partials_f32", bytes_per_unit=4 * vocab, operations_per_unit=4 * vocab
        )
        rows = KernelSlot(self.name, "sample_f32", bytes_per_unit=4 * num_groups)
        builder.mark(SAMPLING_MARK)
        builder.op(self.name, record=SAMPLE, run=reduce_logits.address, slots=(partials,), args=args)
        builder.op(self.name, record=SAMPLE, run=sample_rows.address, slots=(rows,), args=args)
