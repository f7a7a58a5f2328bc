"""What threads ask for while they wait: whose share, how much of it, and when they stop."""

import numpy as np
import pytest

from kernels.cpu.caches import second_level_bytes
from kernels.jit.function import c_callable
from kernels.jit.native import record
from kernels.runtime.abi import THREAD
from kernels.runtime.ahead import SHARE_OF_L2, Stream, ask_ahead, streams_ahead
from kernels.runtime.crew import CREW
from kernels.runtime.program import aligned_zeros

MOST_BYTES = second_level_bytes() // SHARE_OF_L2
FIRST, SECOND = Stream(1 << 20, 1000, 5), Stream(1 << 30, MOST_BYTES, 4)


@c_callable("int64(int64, int64, int64)")
def _ask(ahead_address: int, thread_address: int, crew_address: int) -> int:
    ask_ahead(ahead_address, record(thread_address, THREAD), crew_address, np.int32(7))
    return 0


class _Waiting:
    """A thread at a barrier of generation 7."""

    def __init__(self, share: int, num_shares: int) -> None:
        self.thread = aligned_zeros(THREAD.itemsize, 64).view(THREAD)
        self.thread["share"], self.thread["num_shares"] = share, num_shares
        self.crew = aligned_zeros(CREW.itemsize, 64).view(CREW)
        self.crew["generation"] = 7

    def ask(self, stream: Stream | None) -> tuple[int, int]:
        """(address, bytes) of what it has asked for in all"""
        ahead = streams_ahead([stream])
        _ask.ctypes(ahead.ctypes.data, self.thread.ctypes.data, self.crew.ctypes.data)
        return int(self.thread["asked_of"][0]), int(self.thread["asked_bytes"][0])


def test_ops_know_the_next_stream_and_the_last_ones_the_first() -> None:
    ahead = streams_ahead([None, FIRST, None, SECOND, None])
    assert ahead["address"].tolist() == [
        FIRST.address, SECOND.address, SECOND.address, FIRST.address, FIRST.address,
    ]  # fmt: skip
    assert ahead["num_chunks"].tolist() == [5, 4, 4, 5, 5]
    assert not streams_ahead([None, None]).view(np.int64).any()


@pytest.mark.parametrize(("share", "first", "num_chunks"), [(0, 0, 3), (1, 3, 2)])
def test_a_thread_asks_for_its_share(share: int, first: int, num_chunks: int) -> None:
    address, num_bytes = _Waiting(share, 2).ask(FIRST)
    assert address == FIRST.address + 1000 * first
    assert 0 <= num_bytes - 1000 * num_chunks < 512


def test_it_goes_on_where_it_stopped_and_begins_anew_with_another_stream() -> None:
    waiting = _Waiting(0, 1)
    waiting.crew["generation"] = 8
    assert waiting.ask(FIRST) == (FIRST.address, 0)
    waiting.crew["generation"] = 7
    assert waiting.ask(SECOND) == (SECOND.address, MOST_BYTES)
    assert waiting.ask(SECOND) == (SECOND.address, MOST_BYTES)
    assert waiting.ask(FIRST) == (FIRST.address, 5120)


def test_nothing_is_asked_for_without_a_stream() -> None:
    assert _Waiting(0, 2).ask(None) == (0, 0)
