"""Weights on their way into SME2's products: bytes, or nibbles that a table look-up widens. Knows no formula."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kernels.jit.ir import Function, Value
from kernels.jit.streaming import NUM_TABLE_ENTRIES, load_four, load_two, look_up, set_table

GROUPS = 8  # of 4 elements in a block of 32
AT_ONCE = 4  # vectors of a load


def set_nibbles(f: Function, offset: int) -> None:
    """Nibbles are looked up as themselves less `offset`."""
    set_table(f, [code - offset for code in range(NUM_TABLE_ENTRIES)])


def streaming_weights(
    f: Function, blocks: Sequence[Value], vectors: int, vector_bytes: int, is_nibble: bool
) -> Iterator[list[Value]]:
    """For each group of 4 elements the vectors of columns, `vectors` of each block, which are addresses of its quants.

    Loaded late, for the registers' sake.
    """
    if not is_nibble and len(blocks) > 1:  # a group's vectors of all blocks are to be neighbours: loaded so, not moved
        for g in range(GROUPS):
            yield [v for block in blocks for v in load_two(f, block, vectors * vector_bytes * g)]
        return
    groups = (2 if is_nibble else 1) * AT_ONCE // vectors  # of one load
    for start in range(GROUPS // groups):
        loaded = [load_four(f, block, AT_ONCE * vector_bytes * start) for block in blocks]
        if not is_nibble:
            for g in range(groups):
                yield [v for four in loaded for v in four[vectors * g : vectors * (g + 1)]]
            continue
        each = max(1, AT_ONCE // groups)  # vectors of nibbles in a group
        for g in range(groups):
            yield [v for four in loaded for nibbles in four[each * g : each * (g + 1)] for v in look_up(f, nibbles)]
