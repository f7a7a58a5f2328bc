"""The whole service but for its socket, in this process: a model file in, an HTTP client out. Knows no test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.engine.blocks import BlockPool
from service.engine.client import EngineClient
from service.engine.limits import SchedulerLimits
from service.engine.scheduler import Scheduler
from service.gemmule_model import GemmuleModel
from service.generate.generator import Generator
from service.generate.serving import Serving
from service.http.application import create_app
from service.loader import load_model
from service.metrics.service_metrics import ServiceMetrics
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Completing:
    model: GemmuleModel
    client: httpx.AsyncClient

    @property
    def rungs(self) -> set[str]:
        """Of the matmul micro-kernels that were chosen."""
        return {packed.matrix.choice.rung.name for packed in self.model.weights.matrices()}


@asynccontextmanager
async def completing(path: Path, threads: int = 1, **settings: Any) -> AsyncIterator[Completing]:
    """`settings`: more of them; `isa` caps the ladder. Afterwards the books must balance."""
    model = load_model(path, Settings(threads=threads, max_batch=4, **settings))
    pool = BlockPool(model.num_blocks)
    limits = SchedulerLimits(max_context=model.max_context, max_batch=4)
    metrics = ServiceMetrics()
    scheduler = Scheduler(pool, limits, model.tokenizer.eos_ids)
    engine = EngineClient(scheduler, model.runner, observer=metrics.observer(model.name))
    metrics.open(model.name, model, engine.stats)
    engine.start()
    try:
        serving = Serving()
        generator = Generator(engine, model.tokenizer, model.chat_template)
        serving.open(model.name, generator, engine.max_context, engine.stats)
        transport = httpx.ASGITransport(create_app(serving, metrics, max_body=1 << 20))
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=None) as client:
            yield Completing(model, client)
    finally:
        await engine.stop(drain_s=0)
        pool.check([])
        model.close()
