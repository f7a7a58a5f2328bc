"""The trace of a mixed step: both threads, every op, prefill chunk and decode, in the trace-event format."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadRequest, NothingTraced, NotReady, TraceBusy
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.settings import Settings
from service.trace_command import write_trace
from service.tracing.chrome import DECODE_TRACK, PREFILL_TRACK
from service.tracing.step_traces import MAX_STEPS, StepTraces

NUM_THREADS = 2
NUM_STEPS = 16  # the prompt takes 4, and may come late on a busy machine


@pytest.fixture(scope="module")
def trace(tiny_gguf_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # However long a step takes: prompts in whole chunks, the same ones every time.
    settings = Settings(threads=NUM_THREADS, max_batch=4, max_step_tokens=64, inter_token_ms=60_000)
    out = tmp_path_factory.mktemp("trace") / "trace.json"
    assert write_trace(tiny_gguf_of(context=4096), out, settings, NUM_STEPS, 200) == NUM_STEPS
    made: dict[str, Any] = json.loads(out.read_text())
    return made


def slices(trace: dict[str, Any], category: str, thread: int) -> list[dict[str, Any]]:
    return [e for e in trace["traceEvents"] if e["ph"] == "X" and e["cat"] == category and e["tid"] == thread]


def test_it_is_in_the_trace_event_format(trace: dict[str, Any]) -> None:
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    for event in trace["traceEvents"]:
        assert event["ph"] in ("X", "M")
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            assert isinstance(event["args"], dict)
        else:
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index")


def test_slices_of_a_thread_nest(trace: dict[str, Any]) -> None:
    for thread in range(NUM_THREADS):
        open_until: list[float] = []
        events = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == thread]
        for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
            while open_until and open_until[-1] <= event["ts"] + 0.002:  # microseconds are rounded to nanoseconds
                open_until.pop()
            assert not open_until or event["ts"] + event["dur"] <= open_until[-1] + 0.002, event
            open_until.append(event["ts"] + event["dur"])


def test_a_mixed_step_shows_prefill_and_decode(trace: dict[str, Any]) -> None:
    """On thread 0; of these short steps the other one may be in some, or come too late for all."""
    for thread in range(NUM_THREADS):
        steps = slices(trace, "step", thread)
        mixed = [step for step in steps if step["name"] == "mixed step"]
        assert mixed or thread > 0
        for step in mixed:
            assert step["args"]["decode_tokens"] == 3
            assert step["args"]["prefill_tokens"] == step["args"]["tokens"] - 3 > 0
            inside = [
                op
                for op in slices(trace, "kernel", thread)
                if step["ts"] - 0.002 <= op["ts"] and op["ts"] + op["dur"] <= step["ts"] + step["dur"] + 0.002
            ]
            last_ops = {"sample"} if thread else {"embed", "attn_qkv", "attention", "ffn_down", "output", "sample"}
            assert last_ops <= {op["name"] for op in inside}
    assert sum(event["args"]["prefill_tokens"] for event in slices(trace, "batch", PREFILL_TRACK)) == 200
    assert {event["name"] for event in slices(trace, "batch", DECODE_TRACK)} >= {"3 tokens"}


def test_a_kernel_slice_says_shape_bytes_and_rates(trace: dict[str, Any]) -> None:
    for op in slices(trace, "kernel", 0):
        if not op["args"]["kernel"].startswith("matmul"):
            continue
        rows, n, k = map(int, op["args"]["shape"].split(" x "))
        assert op["args"]["rows"] == rows
        assert op["args"]["bytes"] > 0
        if rows:
            assert op["args"]["GOP/s"] > 0
            assert n * k > 0


def test_python_has_its_phases_on_the_engine_s_thread(trace: dict[str, Any]) -> None:
    assert {e["name"] for e in slices(trace, "python", 0)} == {"plan", "fill", "GIL wait, tokens", "commit"}
    assert not slices(trace, "python", 1)


@pytest.fixture(scope="module")
def model(tiny_gguf_of: Callable[..., Path]) -> Iterator[GemmuleModel]:
    with closing(load_model(tiny_gguf_of(context=4096), Settings(threads=1, max_batch=1))) as loaded:
        yield loaded


async def test_refusals(model: GemmuleModel) -> None:
    traces = StepTraces()
    with pytest.raises(NotReady):
        await traces.take(1, 1.0)
    traces.open(model)
    for steps, timeout_s in ((0, 1.0), (MAX_STEPS + 1, 1.0), (1, 0.0), (1, 1e9), (1, float("nan"))):
        with pytest.raises(BadRequest):
            await traces.take(steps, timeout_s)
    first = asyncio.ensure_future(traces.take(1, 0.05))
    await asyncio.sleep(0)
    with pytest.raises(TraceBusy):
        await traces.take(1, 1.0)
    with pytest.raises(NothingTraced):
        await first
    with pytest.raises(NothingTraced):  # and not busy any more
        await traces.take(1, 0.01)
