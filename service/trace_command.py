"""`gemmule trace`: a model's steps as a Chrome trace, with prefill, decode and both together. Knows no network."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

from service.engine.blocks import BlockPool
from service.engine.client import EngineClient
from service.engine.limits import SchedulerLimits
from service.engine.request import Request, SamplingParams
from service.engine.scheduler import Scheduler
from service.engine.stream import TokenStream
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.settings import Settings
from service.tracing.step_traces import StepTraces

DECODING = 3
"""Sequences that decode while another one's prompt is computed."""
WARM_TOKENS = 4
TIMEOUT_S = 60.0
ATTEMPTS = 8
"""On a busy machine steps of a small model may pass before the prompt has come."""


def write_trace(path: Path, out: Path, settings: Settings, num_steps: int, prompt_tokens: int) -> int:
    """Traces `num_steps` steps of `path` into `out`; returns how many there were.

    Three sequences decode; then comes a prompt of `prompt_tokens`, in chunks of what a step may hold.
    """
    model = load_model(path, settings)
    try:
        trace = asyncio.run(_trace(model, settings, num_steps, prompt_tokens))
    finally:
        model.close()
    out.write_text(json.dumps(trace))
    return sum(event["name"].endswith(" step") and event["tid"] == 0 for event in trace["traceEvents"])


async def _trace(model: GemmuleModel, settings: Settings, num_steps: int, prompt_tokens: int) -> dict[str, Any]:
    traces = StepTraces()
    traces.open(model)
    limits = SchedulerLimits(
        max_context=model.max_context,
        max_batch=settings.max_batch,
        token_budget=settings.max_step_tokens,
        inter_token_s=settings.inter_token_s,
    )
    engine = EngineClient(Scheduler(BlockPool(model.num_blocks), limits), model.runner, observer=traces)
    engine.start()
    draw = random.Random(1)

    def request(name: str, num_prompt: int, num_output: int) -> TokenStream:
        prompt = tuple(draw.randrange(model.vocab_size) for _ in range(min(num_prompt, model.max_context - num_output)))
        sampling = SamplingParams(temperature=0.0, max_tokens=num_output, ignore_eos=True)
        return engine.generate(Request(id=name, prompt_ids=prompt, sampling=sampling, arrival_s=engine.clock()))

    try:
        num_output = model.max_context // 2  # more than are wanted: they decode until they are closed
        streams = [request(f"decode-{index}", 16, num_output) for index in range(DECODING)]
        for stream in streams:
            for _ in range(WARM_TOKENS):
                await anext(stream)
        for attempt in range(ATTEMPTS):
            taking = asyncio.ensure_future(traces.take(num_steps, TIMEOUT_S))
            await asyncio.sleep(0)  # the trace begins before the prompt comes
            prompt = request(f"prefill-{attempt}", prompt_tokens, 1)
            trace = await taking
            prompt.close()
            if _has_prompt(trace):
                break
        for stream in streams:
            stream.close()
        return trace
    finally:
        await engine.stop(drain_s=0)


def _has_prompt(trace: dict[str, Any]) -> bool:
    """In the first half of its steps."""
    names = [event["name"] for event in trace["traceEvents"] if event["name"].endswith(" step") and event["tid"] == 0]
    return "mixed step" in names[: -(-len(names) // 2)]
