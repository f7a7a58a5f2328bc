"""The native loop: every thread of a team walks the same list of ops, with a barrier after each. Knows no op.

Waiting is one function for both barriers and idle workers: spin, then yield, then sleep on a futex. A thread that
changes the word waited for wakes sleepers only if there are any: a step without sleepers makes no system call.
"""

from typing import Any, Final

import numpy as np

from kernels.jit.function import c_callable, native
from kernels.jit.native import (
    atomic_add_i32,
    atomic_load_i32,
    atomic_store_i32,
    call_op,
    call_syscall,
    load,
    pause,
    read_ticks,
    record,
    store,
)
from kernels.runtime.abi import CACHE_LINE, OP_BYTES, OP_HEADER, PHASES, STEP, THREAD, THREAD_BYTES, Record
from kernels.runtime.histogram import NUM_BUCKETS
from kernels.runtime.ticks import histogram_bucket

# What changes while a step runs lies on lines of its own.
TEAM: Final[Record] = np.dtype(
    {
        "names": [
            "ops", "num_ops", "num_threads", "threads", "stats", "stats_stride", "counters",
            "syscall", "futex", "sched_yield", "spin_ticks", "yield_ticks", "park_ticks", "tick_scale",
            "park_yield_ticks", "trace", "first_op", "end_op", "crew", "current",
            "epoch", "parked", "stop", "untimed", "step_start", "arrived", "generation", "waiting",
        ],
        "formats": ["i8"] * 20 + ["i4"] * 4 + ["i8"] + ["i4"] * 3,
        # trace: address of a TRACE. first_op, end_op: the part of the program that is walked. crew: address of the
        # record whose epoch the workers wait for, which several programs may share; its `current` is the TEAM whose
        # step is walked. epoch counts walks: workers sleep on it, `parked` says how many.
        # untimed: nothing is counted, to see what counting costs.
        # step_start: ticks. arrived, generation: the barrier; `waiting` says how many sleep on generation.
        "offsets": [*range(0, 160, 8), 192, 196, 200, 204, 208, 256, 320, 324],
        "itemsize": 384,
    }
)  # fmt: skip
EPOCH: Final = 192
PARKED: Final = 196
ARRIVED: Final = 256
GENERATION: Final = 320
WAITING: Final = 324

# One per (thread, slot, phase); all i64, ticks in units of the tick counter. idle_calls: those that had no units.
SLOT_STATS: Final[Record] = np.dtype(
    [
        *((name, "i8") for name in ("calls", "ticks", "barrier_ticks", "units", "idle_calls")),
        ("histogram", "i8", (NUM_BUCKETS,)),
    ]
)
SLOT_STATS_BYTES: Final = SLOT_STATS.itemsize
NUM_PHASES: Final = len(PHASES)

# One per (thread, phase): steps, ticks from a step's start to this thread's first op, and from there to its end.
STEP_TIMES: Final[Record] = np.dtype([("steps", "i8"), ("dispatch_ticks", "i8"), ("walk_ticks", "i8")])
STEP_TIMES_BYTES: Final = STEP_TIMES.itemsize
_DISPATCH_TICKS: Final = 8
_WALK_TICKS: Final = 16

# Steps are traced while taken < wanted; the step under way is, if active. steps: TRACED_STEP[wanted]. slices:
# SLICE[threads, steps, ops], whose strides are thread_stride and slices_stride bytes.
TRACE: Final[Record] = np.dtype(
    [(name, "i8") for name in ("wanted", "taken", "active", "steps", "slices", "thread_stride", "step_stride")]
)
TRACED_STEP: Final[Record] = np.dtype(
    [(name, "i8") for name in ("start", "end", "phase", "num_tokens", "num_sequences", "num_logit_rows")]
)
TRACED_STEP_BYTES: Final = TRACED_STEP.itemsize
# One op on one thread: its work from start to end, its barrier from there to barrier_end, in ticks.
SLICE: Final[Record] = np.dtype([(name, "i8") for name in ("start", "end", "barrier_end", "units", "variant")])
SLICE_BYTES: Final = SLICE.itemsize
_TICKS: Final = 8
_BARRIER_TICKS: Final = 16
_UNITS: Final = 24
_IDLE_CALLS: Final = 32
_HISTOGRAM: Final = 40

_FUTEX_WAIT_PRIVATE: Final = 128
_FUTEX_WAKE_PRIVATE: Final = 129
_EVERYONE: Final = 2**31 - 1
_SPINS_PER_CHECK: Final = 16


@native
def _wait_while(team_address: int, word: int, sleepers: int, old: Any, spin_ticks: int, yield_ticks: int) -> None:
    """Return when the i32 at `word` is no longer `old`; `sleepers` is the address of the count of who sleeps on it."""
    team = record(team_address, TEAM)
    start = read_ticks()
    while True:
        for _ in range(_SPINS_PER_CHECK):
            if atomic_load_i32(word) != old:
                return
            pause()
        if read_ticks() - start >= spin_ticks:
            break
    while read_ticks() - start < yield_ticks:
        call_syscall(team.syscall, team.sched_yield, 0, 0, 0)
        if atomic_load_i32(word) != old:
            return
    atomic_add_i32(sleepers, np.int32(1))
    while atomic_load_i32(word) == old:
        call_syscall(team.syscall, team.futex, word, _FUTEX_WAIT_PRIVATE, old)
    atomic_add_i32(sleepers, np.int32(-1))


@native
def _advance(team_address: int, word: int, sleepers: int) -> None:
    """Change the i32 at `word` and wake who sleeps on it."""
    team = record(team_address, TEAM)
    atomic_add_i32(word, np.int32(1))
    if atomic_load_i32(sleepers) != 0:
        call_syscall(team.syscall, team.futex, word, _FUTEX_WAKE_PRIVATE, _EVERYONE)


@native
def _arrive(team_address: int) -> Any:
    """At the barrier; whether it was the last to come, and so has let the others go."""
    team = record(team_address, TEAM)
    is_last = atomic_add_i32(team_address + ARRIVED, np.int32(1)) == team.num_threads - 1
    if is_last:
        atomic_store_i32(team_address + ARRIVED, np.int32(0))
        _advance(team_address, team_address + GENERATION, team_address + WAITING)
    return is_last


@native
def _wait_at_barrier(team_address: int, generation: Any) -> None:
    """Until the last thread has come; `generation`: of the barrier before this thread arrived at it."""
    team = record(team_address, TEAM)
    word, sleepers = team_address + GENERATION, team_address + WAITING
    _wait_while(team_address, word, sleepers, generation, team.spin_ticks, team.yield_ticks)


@native
def _add(address: int, value: int) -> None:
    store(address, load(address, np.int64) + value, np.int64)


@native
def _walk(team_address: int, index: int) -> None:
    """A step, or the part of it that the team is to walk, as thread `index`."""
    team = record(team_address, TEAM)
    thread_address = team.threads + THREAD_BYTES * index
    thread = record(thread_address, THREAD)
    phase = record(thread.step, STEP).phase
    stats = team.stats + team.stats_stride * index + SLOT_STATS_BYTES * phase
    times = thread.times + STEP_TIMES_BYTES * phase
    slices = thread.slices
    timed = team.untimed == 0
    begun = start = end = 0
    if timed:
        begun = start = read_ticks()
        if team.first_op == 0:
            _add(times, 1)
        _add(times + _DISPATCH_TICKS, begun - team.step_start)
    for op_index in range(team.first_op, team.end_op):
        op_address = team.ops + OP_BYTES * op_index
        op = record(op_address, OP_HEADER)
        thread.units = 0
        generation = atomic_load_i32(team_address + GENERATION)
        variant = call_op(op.run, op_address, thread_address)
        slot = stats + SLOT_STATS_BYTES * NUM_PHASES * np.int64(op.slots[variant])
        # Nobody waits for the clock: who comes last reads it when the others are gone, who waits while he waits.
        is_last = team.num_threads == 1 or _arrive(team_address)
        if timed:
            end = read_ticks()
            _add(slot, 1)
            _add(slot + _TICKS, end - start)
            _add(slot + _HISTOGRAM + 8 * histogram_bucket(end - start, team.tick_scale), 1)
            if index == 0:
                _add(slot + _UNITS, thread.units)
                _add(slot + _IDLE_CALLS, int(thread.units == 0))
            if slices != 0:
                taken = record(slices + SLICE_BYTES * op_index, SLICE)
                taken.start, taken.end, taken.barrier_end = start, end, end
                taken.units, taken.variant = thread.units, variant
            start = end
        if not is_last:
            _wait_at_barrier(team_address, generation)
            if timed:
                start = read_ticks()
                _add(slot + _BARRIER_TICKS, start - end)
                if slices != 0:
                    record(slices + SLICE_BYTES * op_index, SLICE).barrier_end = start
        if index == 0:
            # Nobody takes chunks of this op any more; the next step finds 0.
            store(team.counters + CACHE_LINE * op_index, 0, np.int64)
    if timed:
        _add(times + _WALK_TICKS, start - begun)
        generation = atomic_load_i32(team_address + GENERATION)
        # Who asks when the step is done shall find all threads counted.
        if team.num_threads > 1 and not _arrive(team_address):
            _wait_at_barrier(team_address, generation)


@native
def _begin_trace(team_address: int, step_address: int) -> None:
    """Give every thread its place in the trace, or none."""
    team = record(team_address, TEAM)
    trace = record(team.trace, TRACE)
    trace.active = 1 if trace.taken < trace.wanted else 0
    for index in range(team.num_threads):
        slices = 0
        if trace.active != 0:
            slices = trace.slices + trace.thread_stride * index + trace.step_stride * trace.taken
        record(team.threads + THREAD_BYTES * index, THREAD).slices = slices
    if trace.active != 0:
        step = record(step_address, STEP)
        traced = record(trace.steps + TRACED_STEP_BYTES * trace.taken, TRACED_STEP)
        traced.start, traced.phase, traced.num_tokens = team.step_start, step.phase, step.num_tokens
        traced.num_sequences, traced.num_logit_rows = step.num_sequences, step.num_logit_rows


@native
def _end_trace(team_address: int) -> None:
    trace = record(record(team_address, TEAM).trace, TRACE)
    if trace.active != 0:
        record(trace.steps + TRACED_STEP_BYTES * trace.taken, TRACED_STEP).end = read_ticks()
        trace.taken += 1
        trace.active = 0


@c_callable("int64(int64, int64, int64, int64)")
def run_step(team_address: int, step_address: int, first_op: int, end_op: int) -> int:
    """Thread 0: start the others on ops [first_op, end_op), walk with them, return when all of these are done."""
    team = record(team_address, TEAM)
    team.first_op, team.end_op = first_op, end_op
    team.step_start = read_ticks()
    for index in range(team.num_threads):
        record(team.threads + THREAD_BYTES * index, THREAD).step = step_address
    if first_op == 0:
        _begin_trace(team_address, step_address)
    if team.num_threads > 1:
        record(team.crew, TEAM).current = team_address
        _advance(team_address, team.crew + EPOCH, team.crew + PARKED)
    _walk(team_address, 0)
    if end_op == team.num_ops:
        _end_trace(team_address)
    return 0


@c_callable("int64(int64, int64)")
def run_worker(crew_address: int, index: int) -> int:
    """A worker's whole life: wait for a step, of whichever program, walk it, until told to stop."""
    crew = record(crew_address, TEAM)
    epoch = np.int32(0)
    while True:
        word, sleepers = crew_address + EPOCH, crew_address + PARKED
        _wait_while(crew_address, word, sleepers, epoch, crew.park_ticks, crew.park_yield_ticks)
        # Steps cannot overtake a worker: run_step ends after a barrier with it.
        epoch = np.int32(epoch + 1)
        if crew.stop != 0:
            return 0
        _walk(crew.current, index)


@c_callable("int64(int64)")
def stop_workers(crew_address: int) -> int:
    """End every worker; none may be inside a step."""
    record(crew_address, TEAM).stop = 1
    _advance(crew_address, crew_address + EPOCH, crew_address + PARKED)
    return 0
