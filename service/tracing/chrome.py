"""A trace of steps in the trace-event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

One track a thread of the team: a slice per op with its micro-kernel, rows, shape, bytes and rates, then its barrier.
Thread 0 is the engine's: between the steps it has Python's phases. Another track shows what each step is made of.

The format: Trace Event Format, complete events ("X"), microseconds. Knows no HTTP and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from service.engine.observer import StepTimings

if TYPE_CHECKING:  # it brings numba
    from kernels.runtime.trace import Trace, TracedOp, TracedStep

PID = 1
PREFILL_TRACK, DECODE_TRACK = 1000, 1001
LEAST_BARRIER_S = 1e-7
"""Shorter waits are no slices: they would only hide the ops."""

Event = dict[str, Any]


def chrome_trace(
    trace: Trace, timings: Sequence[StepTimings], shapes: Mapping[int, str], about: Mapping[str, str]
) -> dict[str, Any]:
    """`timings`: of the steps around, by the same clock. `shapes`: of the op at each place of the program."""
    start_s = min([*(step.start_s for step in trace.steps), *(timing.begun_s for timing in timings)], default=0.0)
    events = [*_names(trace.num_threads)]
    pairs = [(step, _timing_of(step, timings)) for step in trace.steps]
    for number, (step, timing) in enumerate(pairs):
        ops = [op for op in trace.ops if op.step == number]
        events += _step(step, timing, number, ops, trace.num_threads)
        events += _ops(ops, shapes)
        if timing is not None:
            events += _python(step, timing)
    for event in events:
        if "ts" in event:
            event["ts"] = round(1e6 * (event["ts"] - start_s), 3)
            event["dur"] = round(1e6 * max(0.0, event["dur"]), 3)
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": dict(about)}


def _timing_of(step: TracedStep, timings: Sequence[StepTimings]) -> StepTimings | None:
    """What the engine measured of the step: its run holds the native one, up to what two clocks differ."""

    def overlap_s(timing: StepTimings) -> float:
        run_s = timing.begun_s + timing.plan_s
        return min(run_s + timing.run_s, step.end_s) - max(run_s, step.start_s)

    best = max(timings, key=overlap_s, default=None)
    return best if best is not None and overlap_s(best) > 0 else None


def _names(num_threads: int) -> Iterator[Event]:
    names = {index: f"thread {index}" for index in range(num_threads)}
    names[0] = "engine (thread 0)"
    names |= {PREFILL_TRACK: "prefill chunks", DECODE_TRACK: "decode"}
    yield {"ph": "M", "name": "process_name", "pid": PID, "tid": 0, "args": {"name": "gemmule"}}
    for thread, name in names.items():
        yield {"ph": "M", "name": "thread_name", "pid": PID, "tid": thread, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": PID, "tid": thread, "args": {"sort_index": thread}}


def _slice(name: str, category: str, thread: int, start_s: float, end_s: float, **args: object) -> Event:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": PID,
        "tid": thread,
        "ts": start_s,
        "dur": end_s - start_s,
        "args": args,
    }


def _step(
    step: TracedStep, timing: StepTimings | None, number: int, ops: Sequence[TracedOp], num_threads: int
) -> Iterator[Event]:
    num_prefill = timing.num_prefill_tokens if timing is not None else None
    parts = {
        "step": number,
        "tokens": step.num_tokens,
        "sequences": step.num_sequences,
        "sampled_rows": step.num_logit_rows,
    }
    if num_prefill is not None:
        parts |= {"prefill_tokens": num_prefill, "decode_tokens": step.num_tokens - num_prefill}
    for thread in range(num_threads):
        own = [op for op in ops if op.thread == thread]
        if own:  # else it came when all was done
            yield _slice(f"{step.phase} step", "step", thread, own[0].start_s, own[-1].barrier_end_s, **parts)
    if num_prefill is None:
        return
    if num_prefill:
        yield _slice(f"{num_prefill} prompt tokens", "batch", PREFILL_TRACK, step.start_s, step.end_s, **parts)
    if step.num_tokens > num_prefill:
        name = f"{step.num_tokens - num_prefill} tokens"
        yield _slice(name, "batch", DECODE_TRACK, step.start_s, step.end_s, **parts)


def _ops(ops: Sequence[TracedOp], shapes: Mapping[int, str]) -> Iterator[Event]:
    spans: dict[int, float] = {}
    for op in ops:  # an op is as long as its slowest thread
        spans[op.index] = max(spans.get(op.index, 0.0), op.end_s - op.start_s)
    for op in ops:
        wall_s = spans[op.index]
        args: dict[str, object] = {"kernel": op.kernel, "rows": op.units, "bytes": op.bytes}
        if op.index in shapes:
            args["shape"] = f"{op.units} x {shapes[op.index]}"
        if wall_s > 0:
            args |= {"GB/s": round(op.bytes / wall_s / 1e9, 3), "GOP/s": round(op.operations / wall_s / 1e9, 3)}
        yield _slice(op.name, "kernel", op.thread, op.start_s, op.end_s, **args)
        if op.barrier_end_s - op.end_s >= LEAST_BARRIER_S:
            yield _slice("barrier", "barrier", op.thread, op.end_s, op.barrier_end_s, after=op.name)


def _python(step: TracedStep, timing: StepTimings) -> Iterator[Event]:
    run_s = timing.begun_s + timing.plan_s
    planned_s, ended_s = min(run_s, step.start_s), max(run_s + timing.run_s, step.end_s)
    yield _slice("plan", "python", 0, min(timing.begun_s, planned_s), planned_s)
    yield _slice("fill", "python", 0, planned_s, step.start_s)
    yield _slice("GIL wait, tokens", "python", 0, step.end_s, ended_s)
    yield _slice("commit", "python", 0, ended_s, max(ended_s, run_s + timing.run_s + timing.commit_s))
