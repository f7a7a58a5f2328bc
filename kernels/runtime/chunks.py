"""How the threads of a team share an op's work: chunks taken by atomic add. Native; knows no op."""

from typing import Any

from kernels.jit.function import inlined
from kernels.jit.native import atomic_add_i64
from kernels.runtime.abi import CACHE_LINE


@inlined
def take_chunk(op: Any, thread: Any, size: int) -> int:
    """The first item of a chunk of `size` that no other thread has; beyond the last item when nothing is left."""
    return atomic_add_i64(thread.counters + CACHE_LINE * op.op_index, size)  # type: ignore[no-any-return]


@inlined
def chunk_size(num_items: int, num_threads: int, most: int) -> int:
    """Chunks of at most `most` items, and at least about four per thread as long as there are items."""
    return max(1, min(most, num_items // (4 * num_threads)))
