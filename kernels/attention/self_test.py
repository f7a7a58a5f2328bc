"""The attention micro-kernels that a model is to run, against their NumPy reference, once at start. Chooses the rung.

A sequence that ends inside the second range, its blocks out of order: a prefill of a tile and a row more, as if it were
of few rows and of many, and a decode, for each shape of the model's attention. A rung passes if all stay within the
bound that the tests use, have the same bits, and nothing is written outside. One that fails costs no answer: the next
takes its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from kernels.attention.direct import Cache, DirectAttention, WroteTooFar
from kernels.attention.kv_blocks import cache_blocks, stored
from kernels.attention.program import AttentionShape
from kernels.attention.reference import attention, attention_error
from kernels.attention.sight import RANGE_TOKENS
from kernels.attention.variants import ATTENTION_VARIANTS, AttentionVariant, attention_candidates
from kernels.errors import KernelsError
from kernels.jit.library import KernelLibrary
from kernels.ladder import Rung
from kernels.self_test import Fault

NUM_TOKENS = RANGE_TOKENS + 35
SEED = 21


@dataclass(frozen=True, slots=True)
class SoundAttention:
    """The best rung that passed, and those above it that did not."""

    variant: AttentionVariant
    faults: tuple[Fault, ...]


def sound_attention(
    rungs: Iterable[Rung],
    shapes: Collection[AttentionShape],
    library: KernelLibrary,
    variants: Iterable[AttentionVariant] = ATTENTION_VARIANTS,
) -> SoundAttention:
    """The best of `variants` for a CPU whose ladder (perhaps capped) is `rungs`. Raises KernelsError if none passes."""
    faults: list[Fault] = []
    for variant in attention_candidates(rungs, variants):
        fault = next((found for shape in shapes if (found := fault_of(variant, shape, library)) is not None), None)
        if fault is None:
            return SoundAttention(variant, tuple(faults))
        faults.append(fault)
    raise KernelsError("; ".join(["no rung is left for attention", *map(str, faults)]))


def fault_of(variant: AttentionVariant, shape: AttentionShape, library: KernelLibrary) -> Fault | None:
    """What is wrong with this rung's prefill or decode, if anything."""
    limits = (shape.window, shape.soft_cap, shape.kv)
    prefill = variant.tile(shape.head_dim, None, *limits)
    many = variant.wide_tile(shape.head_dim, *limits)
    decode = variant.decode_tile(shape.head_dim, shape.group, *limits)
    random = np.random.default_rng(SEED)
    num_rows = max(prefill.rows + 1, shape.group)
    q = random.standard_normal((num_rows, shape.head_dim), np.float32)
    k, v = random.standard_normal((2, NUM_TOKENS, 1, shape.head_dim), np.float32)
    blocks = cache_blocks(k, v, shape.kv)
    cache = Cache(np.ascontiguousarray(blocks[::-1]), np.arange(len(blocks), dtype=np.int32)[::-1].copy())
    keys, values = stored(k, shape.kv), stored(v, shape.kv)
    ascending = np.arange(NUM_TOKENS - num_rows, NUM_TOKENS, dtype=np.int32)
    of_a_token = np.full(shape.group, NUM_TOKENS - 1, np.int32)
    last = b""
    for tile, rows, positions in (
        (prefill, q, ascending),
        (many, q, ascending),
        (decode, q[-shape.group :], of_a_token),
    ):
        arguments = (rows[:, None], keys, values, positions, shape.scale, shape.window, shape.soft_cap)
        expected, bound = attention(*arguments)[:, 0], attention_error(*arguments, shape.kv)[:, 0]
        reason = None
        try:
            out = DirectAttention(tile, variant.merge(shape.head_dim), library)(rows, positions, cache, shape.scale)
        except WroteTooFar:
            reason = "it wrote past its last row"
        else:
            off = np.argwhere(~(np.abs(out - expected) <= bound))  # a NaN is off
            if len(off):
                row, column = off[0]
                right = expected[row, column]
                reason = f"row {row}, element {column} is {out[row, column]:.7g}, the reference {right:.7g}"
            elif last not in (b"", out[-1].tobytes()):
                reason = "its bits are not those of the tile for few rows"
            last = out[-1].tobytes()
        if reason is not None:
            return Fault(tile.name, variant.rung.name, f"{shape.kv.name} keys and values", reason)
    return None
