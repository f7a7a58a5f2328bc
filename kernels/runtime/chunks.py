"""How the threads of a team share an op's work: chunks taken by atomic add. Native; knows no op.

An op's chunks are divided into shares of neighbours, one for each thread (one for some of a large team), each with a
counter on a cache line of its own. A thread takes the chunks of its own share, then what is left of the others'. So
threads meet on a line at the end of an op alone, which matters where cores share no cache: a line then takes 0.17 us
from one to the other. And a thread reads what lies side by side.
"""

from typing import Any

from kernels.jit.function import inlined, native
from kernels.jit.native import atomic_add_i64
from kernels.runtime.abi import CACHE_LINE


@native
def take_chunk(op: Any, thread: Any, size: int, num_items: int) -> int:
    """The first item of a chunk of `size` that no other thread has; num_items if nothing is left."""
    num_chunks, num_shares = (num_items + size - 1) // size, thread.num_shares
    counters = thread.counters + CACHE_LINE * num_shares * op.op_index
    while thread.num_done < num_shares:
        share = thread.share + thread.num_done
        if share >= num_shares:
            share -= num_shares
        first, end = first_chunk(share, num_chunks, num_shares), first_chunk(share + 1, num_chunks, num_shares)
        if first < end:
            chunk = first + atomic_add_i64(counters + CACHE_LINE * share, 1)
            if chunk < end:
                return chunk * size  # type: ignore[no-any-return]
        thread.num_done += 1
    return num_items


@inlined
def first_chunk(share: int, num_chunks: int, num_shares: int) -> int:
    """The first shares have one more where they are unequal: thread 0 is always there."""
    return (share * num_chunks + num_shares - 1) // num_shares


@inlined
def chunk_size(num_items: int, num_threads: int, most: int) -> int:
    """Chunks of at most `most` items, and at least about four per thread as long as there are items."""
    return max(1, min(most, num_items // (4 * num_threads)))
