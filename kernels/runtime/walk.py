"""The native loop: the threads that are in a step walk the same list of ops, with a barrier after each. Knows no op."""

from typing import Any, Final

import numpy as np

from kernels.jit.function import c_callable, native
from kernels.jit.native import call_op, load, read_ticks, record, store
from kernels.runtime.abi import CACHE_LINE, OP_BYTES, OP_HEADER, PHASES, STEP, THREAD, THREAD_BYTES, Record
from kernels.runtime.ahead import AHEAD_BYTES, ask_ahead
from kernels.runtime.crew import CREW, arrive, call_to_step, dismiss, join, wait_for_call, wait_for_others
from kernels.runtime.histogram import NUM_BUCKETS
from kernels.runtime.ticks import histogram_bucket

# Of one program. first_op, end_op: the part of it that is walked. crew: address of a CREW, which several programs may
# share. untimed: nothing is counted, to see what counting costs. step_start: ticks. trace: address of a TRACE. ahead:
# of AHEAD[num_ops].
TEAM: Final[Record] = np.dtype(
    [
        (name, "i8")
        for name in (
            *("ops", "num_ops", "num_threads", "threads", "stats", "stats_stride", "tick_scale"),
            *("trace", "crew", "first_op", "end_op", "untimed", "step_start", "ahead"),
        )
    ]
)

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


@native
def _add(address: int, value: int) -> None:
    store(address, load(address, np.int64) + value, np.int64)


@native
def _walk(team_address: int, index: int, generation: Any) -> None:
    """A step, or the part of it that the team is to walk, as thread `index`, from the op of this generation on."""
    team = record(team_address, TEAM)
    crew_address = team.crew
    thread_address = team.threads + THREAD_BYTES * index
    thread = record(thread_address, THREAD)
    step = record(thread.step, STEP)
    phase, is_decode = step.phase, step.num_tokens == step.num_sequences
    stats = team.stats + team.stats_stride * index + SLOT_STATS_BYTES * phase
    times = thread.times + STEP_TIMES_BYTES * phase
    slices = thread.slices
    timed = team.untimed == 0
    op_index = team.first_op
    if team.num_threads > 1:
        op_index += np.int64(np.int32(generation - record(crew_address, CREW).first_generation))
    begun = start = end = 0
    if timed:
        begun = start = read_ticks()
        if team.first_op == 0:
            _add(times, 1)
        _add(times + _DISPATCH_TICKS, begun - team.step_start)
    while op_index < team.end_op:
        op_address = team.ops + OP_BYTES * op_index
        op = record(op_address, OP_HEADER)
        thread.units = thread.num_done = 0
        variant = call_op(op.run, op_address, thread_address)
        slot = stats + SLOT_STATS_BYTES * NUM_PHASES * np.int64(op.slots[variant])
        # Nobody waits for the clock: who comes last reads it when the others are gone, who waits while he waits.
        is_last = team.num_threads == 1 or arrive(crew_address, False)
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
            if is_decode:
                ask_ahead(team.ahead + AHEAD_BYTES * op_index, thread, crew_address, generation)
            wait_for_others(crew_address, generation)
            if timed:
                start = read_ticks()
                _add(slot + _BARRIER_TICKS, start - end)
                if slices != 0:
                    record(slices + SLICE_BYTES * op_index, SLICE).barrier_end = start
        if index == 0:
            # Nobody takes chunks of this op any more; the next step finds 0.
            for share in range(thread.num_shares):
                store(thread.counters + CACHE_LINE * (thread.num_shares * op_index + share), 0, np.int64)
        generation = np.int32(generation + 1)
        op_index += 1
    if timed:
        _add(times + _WALK_TICKS, start - begun)
    # Who asks when the step is done shall find all threads counted, and gone from its records.
    if team.num_threads > 1 and not arrive(crew_address, True):
        wait_for_others(crew_address, generation)


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
    """Thread 0: call the others to ops [first_op, end_op), walk them, return when all of these are done."""
    team = record(team_address, TEAM)
    team.first_op, team.end_op = first_op, end_op
    team.step_start = read_ticks()
    for index in range(team.num_threads):
        record(team.threads + THREAD_BYTES * index, THREAD).step = step_address
    if first_op == 0:
        _begin_trace(team_address, step_address)
    generation = np.int32(0)
    if team.num_threads > 1:
        generation = call_to_step(team.crew, team_address)
    _walk(team_address, 0, generation)
    if end_op == team.num_ops:
        _end_trace(team_address)
    return 0


@c_callable("int64(int64, int64)")
def run_worker(crew_address: int, index: int) -> int:
    """A worker's whole life: wait for a step, of whichever program, walk what is left of it, until told to stop."""
    crew = record(crew_address, CREW)
    epoch = np.int32(0)
    while True:
        epoch = wait_for_call(crew_address, epoch)
        if crew.stop != 0:
            return 0
        is_in, generation = join(crew_address)
        if is_in:
            _walk(crew.current, index, generation)


@c_callable("int64(int64)")
def stop_workers(crew_address: int) -> int:
    """End every worker; none may be inside a step."""
    dismiss(crew_address)
    return 0
