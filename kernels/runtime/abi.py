"""The records shared with native code: op, thread, step, sampling. Knows sizes and offsets, no behaviour.

Every op is a C-callable function `i64 op(i64 op_address, i64 thread_address)`. It reads its arguments from its op
record, the batch from the step record that the thread record points to, and returns the *variant* it ran (a number; for
example GEMM or GEMV), which says which of the op's kernel slots is charged. Its work is divided by chunks that the
threads take, never by their indices: any thread but 0 may be missing, or come when others have begun.

Addresses are i8 and not u8: numba turns u8 + i8 into f8.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Record = np.dtype[np.void]

CACHE_LINE: Final = 64
OP_BYTES: Final = 256
OP_HEADER_BYTES: Final = 32
OP_ARGS_BYTES: Final = OP_BYTES - OP_HEADER_BYTES
MAX_VARIANTS: Final = 4
THREAD_BYTES: Final = 128
BLOCK_TOKENS: Final = 32  # tokens in a block of the KV cache
MAX_TOP_LOGPROBS: Final = 20

PREFILL: Final = 0
DECODE: Final = 1
MIXED: Final = 2
PHASES: Final = ("prefill", "decode", "mixed")

OP_HEADER: Final[Record] = np.dtype(
    [
        ("run", "i8"),  # address of the op's function
        ("slots", "i4", (MAX_VARIANTS,)),  # kernel slot of each variant
        ("op_index", "i8"),
    ]
)


def op_record(args: list[tuple[str, str]]) -> Record:
    """The 256-byte record of an op type: header, then `args` (names and i8, f8, i4, f4 formats), naturally aligned."""
    names = ["run", "slots", "op_index"]
    formats: list[npt.DTypeLike] = [OP_HEADER[name] for name in names]
    offsets = [0, 8, 24]
    end = OP_HEADER_BYTES
    for name, code in args:
        field: np.dtype[np.generic] = np.dtype(code)
        assert field in (np.int64, np.int32, np.float64, np.float32), f"op argument {name} has format {code}"
        end = -(-end // field.itemsize) * field.itemsize
        names.append(name)
        formats.append(field)
        offsets.append(end)
        end += field.itemsize
    assert end <= OP_BYTES, f"{end - OP_HEADER_BYTES} bytes of arguments, room for {OP_ARGS_BYTES}"
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": OP_BYTES})


# One per thread, each on its own pair of cache lines.
THREAD: Final[Record] = np.dtype(
    {
        "names": [
            "index", "num_threads", "step", "scratch", "scratch_bytes", "counters", "units", "times", "slices",
            "num_shares", "share", "num_done", "asked_of", "asked_bytes",
        ],
        "formats": ["i8"] * 14,
        # step: address of a STEP. scratch: thread-private, 64-byte aligned. counters: i64[ops, num_shares], each on its
        # own cache line, zero at the start of a step. share: this thread's own; num_done: how many it has found without
        # chunks, from its own on, in this op (see kernels.runtime.chunks). units: written by the op, how many work
        # units the whole op had; thread 0's value is counted. times, slices: the executor's own, see
        # kernels.runtime.walk; asked_of, asked_bytes: see kernels.runtime.ahead.
        "offsets": [*range(0, 112, 8)],
        "itemsize": THREAD_BYTES,
    }
)  # fmt: skip

# T tokens of S sequences, of which R rows are sampled. Fields that name arrays are addresses.
STEP: Final[Record] = np.dtype(
    [
        ("num_tokens", "i8"),  # T
        ("num_sequences", "i8"),  # S
        ("num_logit_rows", "i8"),  # R
        ("phase", "i8"),  # PREFILL, DECODE or MIXED
        ("token_ids", "i8"),  # i32[T]
        ("positions", "i8"),  # i32[T], absolute position in the sequence
        ("kv_slots", "i8"),  # i32[T], block id * BLOCK_TOKENS + offset in the block
        ("token_sequence", "i8"),  # i32[T], index of the sequence in this step
        ("query_starts", "i8"),  # i32[S+1], first token row of each sequence
        ("context_lengths", "i8"),  # i32[S], KV tokens of the sequence after this step
        ("block_tables", "i8"),  # i32[S, max_blocks]
        ("max_blocks", "i8"),
        ("logit_rows", "i8"),  # i32[R], the token row of each sampled row
        ("sampling", "i8"),  # SAMPLING[R]
        ("sampled", "i8"),  # SAMPLED[R]
    ]
)

# How one logit row is sampled. See kernels.ops.sampling for the exact meaning and order of the filters.
SAMPLING: Final[Record] = np.dtype(
    {
        "names": [
            "temperature", "top_p", "min_p", "top_k", "num_top", "num_bias", "seed", "position",
            "bias_ids", "bias_values", "mask", "seen_ids", "seen_counts", "num_seen",
            "repetition_penalty", "presence_penalty", "frequency_penalty", "typical_p",
            "history", "num_history", "dry_allowed_length", "dry_multiplier", "dry_base",
            "xtc_probability", "xtc_threshold", "is_mirostat", "mirostat_mu",
        ],
        "formats": [
            "f4", "f4", "f4", "i4", "i4", "i4", "i8", "i8", "i8", "i8", "i8", "i8", "i8", "i4", *["f4"] * 4,
            "i8", "i4", "i4", "f4", "f4", "f4", "f4", "i4", "f4",
        ],
        # temperature 0: greedy. top_k 0, top_p 1, min_p 0, typical_p 0 or 1: off. num_top: how many top logprobs are
        # wanted (<= 20). seed, position: key of the draw. bias_ids i32[num_bias], bias_values f32[num_bias]: added to
        # the logits (-inf bans a token). mask: address of u32[ceil(V/32)], bit set = token allowed; 0 = none.
        # seen_ids i32[num_seen], seen_counts i32[num_seen]: what the penalties punish, each token once; the count is
        # how often it is in the output, 0 if it is in the prompt alone. history i32[num_history]: what DRY looks
        # through, see kernels.ops.sampling.repeats; 0 = off. xtc_probability 0: off. is_mirostat 1: mirostat_mu, in
        # bits, stands for all filters.
        "offsets": [
            0, 4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 84, 88, 92, 96,
            104, 112, 116, 120, 124, 128, 132, 136, 140,
        ],
        "itemsize": 192,
    }
)  # fmt: skip

NOT_FINITE: Final = 0
NOTHING_LEFT: Final = -1
SAMPLED: Final[Record] = np.dtype(
    {
        "names": ["token", "num_top", "logprob", "finite", "top_ids", "top_logprobs", "surprise"],
        "formats": [
            "i4", "i4", "f4", "i4",
            np.dtype(("i4", (MAX_TOP_LOGPROBS,))), np.dtype(("f4", (MAX_TOP_LOGPROBS,))), "f4",
        ],
        # logprob and top_*: of the unmodified distribution. finite: 1, or NOT_FINITE if a logit of the row was NaN or
        # infinite, or NOTHING_LEFT if none is left to draw from once it is edited. surprise: of mirostat's draws, in
        # bits.
        "offsets": [0, 4, 8, 12, 16, 96, 176],
        "itemsize": 192,
    }
)  # fmt: skip
