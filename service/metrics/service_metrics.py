"""All series of the process: the faces', the engine's, the kernels', the machine's. Puts them together, counts nothing.

The faces take what they count with from here; `open` adds the rest once there is a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from service.engine.client import EngineStats
from service.engine.observer import EngineObserver, RequestTimings, StepTimings
from service.metrics.cpu import CpuCollector
from service.metrics.engine_metrics import EngineCollector, EngineMetrics
from service.metrics.exposition import Exposition
from service.metrics.gen_ai_metrics import GenAiMetrics
from service.metrics.http_metrics import HttpMetrics
from service.metrics.kernel_collector import (
    DRAFT_OP,
    CompilationCollector,
    KernelFault,
    KernelStats,
    KernelText,
    SelfTestCollector,
)
from service.metrics.machine import MachineCollector, MachineFacts
from service.metrics.model_series import ModelSeries
from service.metrics.rejections import Rejections
from service.metrics.rpc_metrics import RpcMetrics
from service.metrics.step_parts import EngineTimes, StepPartsCollector
from service.metrics.vllm_names import VllmNames

if TYPE_CHECKING:  # it brings numba
    from kernels.runtime.stats import ExecutorTimes


class MeasuredModel(Protocol):
    """What a model tells about itself; any thread may ask."""

    def kernel_stats(self) -> Sequence[KernelStats]: ...
    def kernel_faults(self) -> Sequence[KernelFault]: ...
    def num_compilations(self) -> int: ...
    def num_cache_hits(self) -> int: ...
    def executor_times(self) -> ExecutorTimes: ...
    def machine_facts(self) -> MachineFacts: ...
    @property
    def draft(self) -> MeasuredModel | None:
        """Guesses for it."""
        ...


class ServiceMetrics:
    def __init__(self, *, has_vllm_names: bool = False, has_many_models: bool = False) -> None:
        self._has_vllm_names = has_vllm_names
        self._of_models = ModelSeries() if has_many_models else None
        self.registry = CollectorRegistry()
        self.exposition = Exposition(self.registry)
        self.http = HttpMetrics(self.registry)
        self.rpc = RpcMetrics(self.registry)
        self.rejections = Rejections(self.registry)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.registry.register(CpuCollector())
        self._kernels = KernelText()
        self._registries: dict[str, CollectorRegistry] = {}
        self._engines: dict[str, EngineMetrics] = {}
        if self._of_models is not None:
            self.exposition.add_collector(self._of_models)
        else:
            # There from the start: whose they are needs no name.
            self._only_engine = EngineMetrics(self.registry)

    def observer(self, model: str, *others: EngineObserver) -> EngineObserver:
        """For the engine that serves `model`: counts, and tells the others."""
        if self._of_models is None:
            self._registries[model], self._engines[model] = self.registry, self._only_engine
        else:
            self._registries[model] = registry = self._of_models.registry(model)
            self._engines[model] = EngineMetrics(registry)
        return Observers(self._engines[model], GenAiMetrics(self._registries[model], model), *others)

    def open(self, name: str, model: MeasuredModel, stats: Callable[[], EngineStats]) -> None:
        """From here on the series of its engine, which has an observer, and of its kernels are there."""
        engine, registry = self._engines[name], self._registries[name]

        def engine_times() -> EngineTimes:
            return EngineTimes(engine.plan_s, engine.run_s, engine.commit_s, stats().idle_s)

        for collector in (
            EngineCollector(stats),
            StepPartsCollector(
                engine_times,
                model.executor_times,
                model.kernel_stats,
                None if model.draft is None else model.draft.executor_times,
            ),
            CompilationCollector(model.num_compilations, model.num_cache_hits),
            SelfTestCollector(model.kernel_faults),
            MachineCollector(model.machine_facts()),
        ):
            registry.register(collector)
        if len(self._kernels) == 0:
            self.exposition.add(self._kernels)
        label = "" if self._of_models is None else name
        self._kernels.add(model.kernel_stats, label)
        if model.draft is not None:
            self._kernels.add(model.draft.kernel_stats, label, DRAFT_OP)
        if self._has_vllm_names:
            names = VllmNames(registry, name, stats)
            if self._of_models is None:
                self.exposition.add_collector(names)
            else:
                self._of_models.add(name, names)


class Observers:
    """One EngineObserver that is several."""

    def __init__(self, *observers: EngineObserver) -> None:
        self._observers = observers

    def on_step(self, step: StepTimings) -> None:
        for observer in self._observers:
            observer.on_step(step)

    def on_finish(self, request: RequestTimings) -> None:
        for observer in self._observers:
            observer.on_finish(request)
