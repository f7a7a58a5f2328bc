"""Divides a step's attention into parts for the team: their rows, kv heads, ranges. Native; computes nothing.

A unit is a tile of a sequence's query tokens and a kv head; a decode's is its one token and all kv heads, so that a
block of the cache is read whole, as it lies in memory. Tiles are smaller where prefills would be too few units to
share, and a decode's heads are apart where all of them over one range would be more work than a part should be.
A unit that is more work than a part should be is cut into parts of some ranges: threads store the partials, and whoever
finishes its last part merges them. Work is counted in rows x ranges, at the most that any tile of the sequence sees.

Every thread finds the same parts with the same numbers: those of prefills, from the last sequence and tile backwards,
so they are cut from their expensive end; then those of decodes. The shares of the first threads are prefills, those of
the last ones decodes: the ones compute while the others wait for memory, and both are done sooner than one by one.
"""

from typing import Any, Final

import numpy as np

from kernels.attention.sight import RANGE_TOKENS
from kernels.jit.function import native
from kernels.jit.native import load
from kernels.runtime.abi import Record
from kernels.runtime.chunks import take_chunk

PARTS_PER_THREAD: Final = 8
"""A team shares about so many parts, if there are."""
PREFILLS_PER_THREAD: Final = 4
"""With fewer units of prefills, they have fewer rows."""

DIVISION: Final[Record] = np.dtype(
    [
        ("context", "i8"),  # tokens that all query tokens see, in sum
        ("most_rows", "i8"),  # of a kv head in a unit
        ("tile_tokens", "i8"),  # of a prefill's unit
        ("decode_heads", "i8"),  # kv heads of a decode's unit
        ("part_work", "i8"),  # of a part, about
        # Of prefills; in all. Threads take turns: prefills from 0 on, decodes from decode_turn on; so many follow that
        # have no part, that half of the turns are either's.
        ("prefill_parts", "i8"),
        ("num_parts", "i8"),
        ("decode_turn", "i8"),
        ("num_turns", "i8"),
        # Where the search for parts stands: among the decodes, or before. Of the sequence: its first part's number, how
        # many there are, and of a unit parts, their ranges, partials. Of those before it: units that are cut, and
        # their partials.
        ("at_decodes", "i8"),
        ("sequence", "i8"),
        ("first_part", "i8"),
        ("sequence_parts", "i8"),
        ("unit_parts", "i8"),
        ("part_ranges", "i8"),
        ("unit_partials", "i8"),
        ("num_cut", "i8"),
        ("num_partials", "i8"),
    ]
)

PART: Final[Record] = np.dtype(
    [
        ("sequence", "i8"),
        ("kv_head", "i8"),  # the first of num_heads
        ("num_heads", "i8"),
        ("token", "i8"),  # the first of num_tokens, in the step
        ("num_tokens", "i8"),
        ("first", "i8"),  # ranges that the unit sees, from `first` to before `end`
        ("end", "i8"),
        ("start", "i8"),  # those of this part
        ("stop", "i8"),
        ("unit_parts", "i8"),  # that have ranges
        ("arrivals", "i8"),  # address: i32, of the unit's parts that are done; 0: it is not cut
        ("partials", "i8"),  # the first that is stored of the unit, if it is cut
    ]
)


@native
def divide(op: Any, thread: Any, step: Any, division: Any) -> None:
    """Fill `division` for the step, and for the thread's first part."""
    num_parts = 1 if thread.num_threads == 1 else PARTS_PER_THREAD * thread.num_threads
    division.tile_tokens = _tile_tokens(op, step, PREFILLS_PER_THREAD * thread.num_threads)
    division.decode_heads = 1
    work, most_rows, context = 0, 0, 0
    for sequence in range(step.num_sequences):
        length, num_tokens = item(step.context_lengths, sequence), _num_queries(step, sequence)
        num_units, num_rows, num_ranges = _units(op, step, division, sequence)
        work += num_units * num_rows * num_ranges
        most_rows = max(most_rows, num_rows)
        context += _seen(op, length) - _seen(op, length - num_tokens)
    division.most_rows, division.context = most_rows, context
    division.part_work = work // num_parts
    if division.part_work >= op.num_kv_heads * op.group:
        division.decode_heads = op.num_kv_heads
    _rewind(step, division)
    while division.at_decodes == 0 and _next_sequence(op, step, division):
        pass
    division.prefill_parts = division.first_part
    while _next_sequence(op, step, division):
        pass
    division.num_parts = division.num_turns = division.first_part
    division.decode_turn = division.prefill_parts
    if 0 < division.prefill_parts < division.num_parts:
        division.decode_turn = max(division.prefill_parts, division.num_parts - division.prefill_parts)
        division.num_turns = 2 * division.decode_turn
    _rewind(step, division)


@native
def next_part(op: Any, thread: Any, step: Any, division: Any, part: Any) -> bool:
    """The next part for this thread; False: none is left. It may have no ranges: its tile sees fewer than another of
    the sequence."""
    number = division.num_parts
    while number == division.num_parts:
        turn = take_chunk(op, thread, 1, division.num_turns)
        if turn == division.num_turns:
            return False
        if turn < division.decode_turn:
            number = turn if turn < division.prefill_parts else division.num_parts
        else:
            number = min(division.prefill_parts + turn - division.decode_turn, division.num_parts)
    if number < division.first_part:
        _rewind(step, division)
    while number >= division.first_part + division.sequence_parts:
        _next_sequence(op, step, division)
    within, index = divmod(number - division.first_part, division.unit_parts)
    sequence = division.sequence
    part.sequence = sequence
    num_queries = _num_queries(step, sequence)
    part.num_heads = division.decode_heads if num_queries == 1 else 1
    num_tiles = _num_tiles(num_queries, division.tile_tokens)
    part.kv_head = within // num_tiles * part.num_heads
    tile = num_tiles - 1 - within % num_tiles
    part.token = item(step.query_starts, sequence) + tile * division.tile_tokens
    part.num_tokens = min(division.tile_tokens, item(step.query_starts, sequence + 1) - part.token)
    part.first = _first_range(op, item(step.positions, part.token))
    part.end = _num_ranges(item(step.positions, part.token + part.num_tokens - 1) + 1)
    part.start = part.first + index * division.part_ranges
    part.stop = min(part.start + division.part_ranges, part.end)
    part.unit_parts = (part.end - part.first + division.part_ranges - 1) // division.part_ranges
    part.arrivals = op.arrivals + 4 * (division.num_cut + within) if part.unit_parts > 1 else 0
    part.partials = division.num_partials + within * division.unit_partials
    return True


@native
def _rewind(step: Any, division: Any) -> None:
    """The search for parts begins at the last sequence, with the prefills."""
    division.sequence = step.num_sequences
    division.at_decodes = division.first_part = division.sequence_parts = 0
    division.num_cut = division.num_partials = 0
    division.unit_parts = 1


@native
def _next_sequence(op: Any, step: Any, division: Any) -> bool:
    """Go to the next sequence that has parts; False: that was the last. Its units are cut if each is more work than a
    part, so fewer are cut than a step has parts, and if their partials find room."""
    if division.unit_parts > 1:
        num_units = division.sequence_parts // division.unit_parts
        division.num_cut += num_units
        division.num_partials += num_units * division.unit_partials
    division.first_part += division.sequence_parts
    division.sequence_parts = 0
    while True:
        division.sequence -= 1
        if division.sequence < 0:
            if division.at_decodes != 0:
                return False
            division.at_decodes, division.sequence = 1, step.num_sequences
        elif (_num_queries(step, division.sequence) == 1) == (division.at_decodes != 0):
            break
    num_units, num_rows, num_ranges = _units(op, step, division, division.sequence)
    division.unit_partials = num_rows * num_ranges
    division.part_ranges = max(1, division.part_work // num_rows)
    if division.num_partials + num_units * division.unit_partials > op.max_partials:
        division.part_ranges = num_ranges
    division.unit_parts = (num_ranges + division.part_ranges - 1) // division.part_ranges
    division.sequence_parts = num_units * division.unit_parts
    return True


@native
def _units(op: Any, step: Any, division: Any, sequence: int) -> Any:
    """(units of a sequence, rows of a unit, ranges that it sees), the last two at the most."""
    num_tokens = _num_queries(step, sequence)
    num_heads = division.decode_heads if num_tokens == 1 else 1
    most_tokens = min(num_tokens, division.tile_tokens)
    num_units = op.num_kv_heads // num_heads * _num_tiles(num_tokens, division.tile_tokens)
    num_ranges = _most_ranges(op, item(step.context_lengths, sequence), most_tokens)
    return num_units, most_tokens * op.group * num_heads, num_ranges


@native
def item(array: int, index: int) -> int:
    """Of an i32 array."""
    return int(load(array + 4 * index, np.int32))


@native
def _num_queries(step: Any, sequence: int) -> int:
    return item(step.query_starts, sequence + 1) - item(step.query_starts, sequence)


@native
def _tile_tokens(op: Any, step: Any, wanted: int) -> int:
    """Query tokens of a unit: few if prefills would be less than `wanted` units, for decodes fill no gap."""
    num_units = 0
    for sequence in range(step.num_sequences):
        num_tokens = _num_queries(step, sequence)
        if num_tokens > 1:
            num_units += op.num_kv_heads * _num_tiles(num_tokens, op.tile_tokens)
    return int(op.few_tokens if num_units < wanted else op.tile_tokens)


@native
def _num_tiles(num_tokens: int, tile_tokens: int) -> int:
    return (num_tokens + tile_tokens - 1) // tile_tokens


@native
def _num_ranges(length: int) -> int:
    return (length + RANGE_TOKENS - 1) // RANGE_TOKENS


@native
def _first_range(op: Any, position: int) -> int:
    """The first range that the query token at `position` sees a token of."""
    if op.window == 0:
        return 0
    return max(0, position - int(op.window) + 1) // RANGE_TOKENS


@native
def _most_ranges(op: Any, length: int, num_tokens: int) -> int:
    """At least as many as any unit of a sequence sees, which has so many query tokens."""
    num_ranges = _num_ranges(length)
    if op.window == 0:
        return num_ranges
    span = int(op.window) + num_tokens - 1
    return min(num_ranges, (span + RANGE_TOKENS - 2) // RANGE_TOKENS + 1)


@native
def _seen(op: Any, num_tokens: int) -> int:
    """Tokens that the first `num_tokens` of a sequence see, in sum."""
    most = num_tokens if op.window == 0 else min(num_tokens, int(op.window))
    return most * (most + 1) // 2 + (num_tokens - most) * most
