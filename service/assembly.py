"""A loaded model and settings -> a running engine, opened for the faces. Knows no process, listener or signal."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from service.engine.blocks import BlockPool
from service.engine.client import EngineClient
from service.engine.draft_model import DraftModel
from service.engine.limits import SchedulerLimits
from service.engine.observer import EngineObserver
from service.engine.runner import Runner
from service.engine.scheduler import Scheduler
from service.generate.generator import Generator
from service.generate.serving import Serving
from service.metrics.service_metrics import MeasuredModel, ServiceMetrics
from service.settings import Settings
from service.tokenizer import ChatTemplate, Tokenizer
from service.tracing.request_log import RequestLog
from service.tracing.request_traces import RequestTraces
from service.tracing.step_traces import StepTraces, TracedModel

SWITCH_INTERVAL_S = 1e-4
"""How long the engine thread may wait for the GIL; Python's 5 ms would cost more than a step."""


class LoadedModel(MeasuredModel, TracedModel, Protocol):
    """A model that is packed, compiled and warm: what service.model hands over."""

    @property
    def name(self) -> str: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def chat_template(self) -> ChatTemplate | None: ...
    @property
    def runner(self) -> Runner: ...
    @property
    def max_context(self) -> int:
        """Tokens of a sequence: the model's context, or the smaller one that was asked for."""
        ...

    @property
    def num_blocks(self) -> int:
        """Blocks of the KV cache."""
        ...

    @property
    def draft(self) -> "LoadedModel | None":
        """A smaller model, of the same vocabulary and loaded as ready, that guesses for it."""
        ...

    def description(self) -> Sequence[str]:
        """Lines for the start-up report: CPU, features, threads, model, one per op with its micro-kernels and why."""
        ...

    def explain(self) -> Sequence[Any]:
        """service.explain.ExplainedOp of every op of a step, with what it has cost. Any thread may ask."""
        ...

    def close(self) -> None:
        """Join the team, unmap the weights. Called once the engine thread has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Traces:
    """Who is told of steps and of requests. Steps are traced of one model, the first."""

    steps: StepTraces | None
    requests: RequestTraces


def open_engine(
    model: LoadedModel, settings: Settings, serving: Serving, metrics: ServiceMetrics, traces: Traces
) -> EngineClient:
    """Call on the event loop that will hear the engine; it runs from then on, until `stop`."""
    limits = SchedulerLimits(
        max_context=model.max_context,
        max_batch=settings.max_batch,
        token_budget=settings.max_step_tokens,
        inter_token_s=settings.inter_token_s,
        num_drafts=settings.num_drafts,
        shares_prefixes=settings.prefix_cache,
        kv_type=model.machine_facts().kv_type,
    )
    is_only = len(settings.models) == 1
    name = (settings.served_name if is_only else None) or model.name
    observers: list[EngineObserver] = [traces.requests.of(name), RequestLog()]
    if traces.steps is not None:
        traces.steps.open(model)
        observers.append(traces.steps)
    engine = EngineClient(
        Scheduler(BlockPool(model.num_blocks), limits, model.tokenizer.eos_ids, _drafter(model.draft, limits)),
        model.runner,
        max_queue=settings.max_queue,
        max_queue_tokens=settings.max_queue_tokens,
        observer=metrics.observer(name, *observers),
    )
    metrics.open(name, model, engine.stats)
    traces.requests.model = name if is_only else ""
    engine.start()
    # What has been made so far lives as long as the process: the collector need not walk it in every request.
    gc.collect()
    gc.freeze()
    generator = Generator(engine, model.tokenizer, model.chat_template)
    serving.open(name, generator, engine.max_context, engine.stats, model.explain, model.description())
    return engine


def _drafter(model: LoadedModel | None, limits: SchedulerLimits) -> DraftModel | None:
    """`limits`: of the model that it guesses for."""
    if model is None:
        return None
    return DraftModel(model.runner, BlockPool(model.num_blocks), replace(limits, max_context=model.max_context))
