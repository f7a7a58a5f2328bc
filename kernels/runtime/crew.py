"""Who walks along: the threads of a team wait for steps, join them and meet after every op. Native; knows no op.

A step begins with the thread that was asked for it; the workers join when they come round, be it in the middle. After
each op those who are in wait for each other, and for nobody else: a worker whose core is somebody else's at the moment
keeps no step waiting that it has not joined. Who joins during an op takes part in it, and is waited for from there on.

Waiting is one function for both barriers and idle workers: spin, perhaps yield, then sleep on a futex. A thread that
changes the word waited for wakes sleepers only if there are any: a step without sleepers makes no system call.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import native
from kernels.jit.native import (
    atomic_add_i32,
    atomic_add_ordered_i64,
    atomic_compare_exchange_i64,
    atomic_load_i32,
    atomic_load_i64,
    atomic_store_i64,
    call_syscall,
    pause,
    read_ticks,
    record,
)
from kernels.runtime.abi import Record

# What changes while a step runs lies on lines of its own.
CREW: Final[Record] = np.dtype(
    {
        "names": [
            "syscall", "futex", "sched_yield", "spin_ticks", "park_ticks", "park_yield_ticks",
            "current", "first_generation", "epoch", "parked", "stop", "meeting", "generation", "waiting",
        ],
        "formats": ["i8"] * 7 + ["i4"] * 4 + ["i8"] + ["i4"] * 2,
        # current: the TEAM whose step is walked; its first op is that of first_generation. epoch counts steps, or parts
        # of them: idle workers sleep on it, `parked` says how many. meeting: generation << 32 | members << 16 |
        # arrived, of the barrier; without members nobody can join. generation: follows that of the meeting, for those
        # who wait and do not want to see every arrival; `waiting` says how many sleep on it.
        "offsets": [*range(0, 56, 8), 56, 128, 132, 136, 192, 256, 260],
        "itemsize": 320,
    }
)  # fmt: skip
_EPOCH: Final = 128
_PARKED: Final = 132
_MEETING: Final = 192
_GENERATION: Final = 256
_WAITING: Final = 260

_GENERATION_BIT: Final = 32
_MEMBER_BIT: Final = 16
_COUNT_MASK: Final = 0xFFFF
MOST_THREADS: Final = _COUNT_MASK

_FUTEX_WAIT_PRIVATE: Final = 128
_FUTEX_WAKE_PRIVATE: Final = 129
_EVERYONE: Final = 2**31 - 1
_SPINS_PER_CHECK: Final = 16


@native
def _is_past(word: int, value: Any) -> Any:
    """Whether the i32 at `word`, which only grows, is beyond `value`; it may wrap around."""
    return np.int32(atomic_load_i32(word) - value) > 0


@native
def _wait_until_past(
    crew_address: int, word: int, sleepers: int, value: Any, spin_ticks: int, yield_ticks: int
) -> None:
    """Spins for `spin_ticks`, yields until `yield_ticks`. `sleepers`: address of the count of who sleeps on `word`."""
    crew = record(crew_address, CREW)
    start = read_ticks()
    while True:
        for _ in range(_SPINS_PER_CHECK):
            if _is_past(word, value):
                return
            pause()
        if read_ticks() - start >= spin_ticks:
            break
    while read_ticks() - start < yield_ticks:
        call_syscall(crew.syscall, crew.sched_yield, 0, 0, 0)
        if _is_past(word, value):
            return
    atomic_add_i32(sleepers, np.int32(1))
    while True:
        seen = atomic_load_i32(word)
        if np.int32(seen - value) > 0:
            break
        call_syscall(crew.syscall, crew.futex, word, _FUTEX_WAIT_PRIVATE, seen)
    atomic_add_i32(sleepers, np.int32(-1))


@native
def _advance(crew_address: int, word: int, sleepers: int) -> None:
    """Add 1 to the i32 at `word` and wake who sleeps on it."""
    crew = record(crew_address, CREW)
    atomic_add_i32(word, np.int32(1))
    if atomic_load_i32(sleepers) != 0:
        call_syscall(crew.syscall, crew.futex, word, _FUTEX_WAKE_PRIVATE, _EVERYONE)


@native
def call_to_step(crew_address: int, team_address: int) -> Any:
    """A step of this TEAM begins, with the caller in it; returns the generation of its first op."""
    crew = record(crew_address, CREW)
    generation = atomic_load_i32(crew_address + _GENERATION)
    crew.current, crew.first_generation = team_address, generation
    atomic_store_i64(crew_address + _MEETING, (np.int64(generation) << _GENERATION_BIT) | (1 << _MEMBER_BIT))
    _advance(crew_address, crew_address + _EPOCH, crew_address + _PARKED)
    return generation


@native
def wait_for_call(crew_address: int, epoch: Any) -> Any:
    """Until a step has been called to after `epoch`; returns the epoch of the last one."""
    crew = record(crew_address, CREW)
    word, sleepers = crew_address + _EPOCH, crew_address + _PARKED
    _wait_until_past(crew_address, word, sleepers, epoch, crew.park_ticks, crew.park_yield_ticks)
    return atomic_load_i32(word)


@native
def dismiss(crew_address: int) -> None:
    """Whoever waits for a call comes back; `stop` says why."""
    record(crew_address, CREW).stop = 1
    _advance(crew_address, crew_address + _EPOCH, crew_address + _PARKED)


@native
def join(crew_address: int) -> Any:
    """(whether the caller is in, from now on; the generation of the op that is under way)"""
    while True:
        meeting = atomic_load_i64(crew_address + _MEETING)
        if (meeting >> _MEMBER_BIT) & _COUNT_MASK == 0:
            return False, np.int32(0)
        if atomic_compare_exchange_i64(crew_address + _MEETING, meeting, meeting + (1 << _MEMBER_BIT)):
            return True, np.int32(meeting >> _GENERATION_BIT)


@native
def arrive(crew_address: int, ends: bool) -> Any:
    """At the barrier; whether it was the last to come, and so has let the others go. `ends`: nobody can join after."""
    meeting = atomic_add_ordered_i64(crew_address + _MEETING, 1) + 1
    members = (meeting >> _MEMBER_BIT) & _COUNT_MASK
    if meeting & _COUNT_MASK != members:
        return False
    following = ((meeting >> _GENERATION_BIT) + 1) << _GENERATION_BIT
    if not ends:
        following |= members << _MEMBER_BIT
    if not atomic_compare_exchange_i64(crew_address + _MEETING, meeting, following):
        return False  # somebody has joined meanwhile, and will be the last
    _advance(crew_address, crew_address + _GENERATION, crew_address + _WAITING)
    return True


@native
def is_open(crew_address: int, generation: Any) -> Any:
    """Whether the last one has arrived at the barrier of this generation: nobody waits there any more."""
    return _is_past(crew_address + _GENERATION, generation)


@native
def wait_for_others(crew_address: int, generation: Any) -> None:
    """Until the last one has arrived at the barrier of this generation."""
    crew = record(crew_address, CREW)
    word, sleepers = crew_address + _GENERATION, crew_address + _WAITING
    _wait_until_past(crew_address, word, sleepers, generation, crew.spin_ticks, 0)
