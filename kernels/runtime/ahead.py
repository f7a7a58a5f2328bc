"""What a thread asks for while it waits for the others: the weights that it will read next. Native; knows no matmul.

Between two matmuls of a decode there are ops so small that most of the team waits, and the memory idles. Whoever waits
asks for the beginning of its own share of the next matmul's chunks, which is then in its L2 when it gets there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.cpu.caches import second_level_bytes
from kernels.jit.function import native
from kernels.jit.native import prefetch_l2, record
from kernels.runtime.abi import CACHE_LINE, Record
from kernels.runtime.chunks import first_chunk
from kernels.runtime.crew import is_open

# One per op: the stream that is read after it, by the next op that has one.
AHEAD: Final[Record] = np.dtype([(name, "i8") for name in ("address", "chunk_bytes", "num_chunks", "most_bytes")])
AHEAD_BYTES: Final = AHEAD.itemsize

SHARE_OF_L2: Final = 4
"""A thread asks for no more of a stream than this part of its L2, which holds what is in use, too."""
_LINES_PER_LOOK: Final = 8
"""About as many as a core asks memory for at once: who looks whether the others have come is held up by no more."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Memory that an op reads once, in order, a chunk after another as threads take them."""

    address: int
    chunk_bytes: int
    num_chunks: int


@native
def ask_ahead(ahead_address: int, thread: Any, crew_address: int, generation: Any) -> None:
    """Ask for this thread's share of a stream, from where it stopped, until a barrier opens."""
    ahead = record(ahead_address, AHEAD)
    first = first_chunk(thread.share, ahead.num_chunks, thread.num_shares)
    end = first_chunk(thread.share + 1, ahead.num_chunks, thread.num_shares)
    address = ahead.address + first * ahead.chunk_bytes
    if thread.asked_of != address:
        thread.asked_of, thread.asked_bytes = address, 0
    most = min((end - first) * ahead.chunk_bytes, ahead.most_bytes)
    while thread.asked_bytes < most and not is_open(crew_address, generation):
        for line in range(_LINES_PER_LOOK):
            prefetch_l2(address + thread.asked_bytes + CACHE_LINE * line)
        thread.asked_bytes += CACHE_LINE * _LINES_PER_LOOK


def streams_ahead(streams: Sequence[Stream | None]) -> npt.NDArray[np.void]:
    """AHEAD[ops] of what each op reads: after the last op comes the first one of the next step."""
    ahead = np.zeros(len(streams), AHEAD)
    most_bytes = second_level_bytes() // SHARE_OF_L2
    following = next((stream for stream in streams if stream is not None), None)
    for index in reversed(range(len(streams))):
        if following is not None:
            ahead[index] = (following.address, following.chunk_bytes, following.num_chunks, most_bytes)
        following = streams[index] or following
    return ahead
