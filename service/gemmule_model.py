"""A model that is loaded, as data and what can be asked of it. Knows no settings and no order of a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kernels.attention.variants import AttentionVariant
from kernels.autotune.tuner import Tuning
from kernels.cpu import CPU
from kernels.jit.compile_counter import counter
from kernels.jit.library import KernelLibrary
from kernels.peaks.measure import Peaks
from kernels.runtime.executor import Executor
from kernels.runtime.stats import ExecutorTimes, KernelStats
from kernels.runtime.trace import Tracer
from kernels.self_test import Fault
from service.engine.model_runner import ModelRunner
from service.explain import ExplainedOp, explain
from service.gguf.reader import GGUFFile
from service.machine_facts import machine_facts, matmul_shapes
from service.metrics.machine import MachineFacts
from service.model.config import ModelConfig, StepLimits
from service.model.kv_cache import KVCache
from service.model.report import describe
from service.model.weights import Weights
from service.packed.folder import Outcome
from service.tokenizer import ChatTemplate, Tokenizer


@dataclass(frozen=True, slots=True)
class GemmuleModel:
    """A model that is packed, compiled and warm."""

    name: str
    cpu: CPU
    config: ModelConfig
    weights: Weights
    kv: KVCache
    limits: StepLimits
    attention: AttentionVariant
    executor: Executor
    runner: ModelRunner
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None
    library: KernelLibrary
    file: GGUFFile
    faults: tuple[Fault, ...]
    """Micro-kernels that failed their self-test; others took their place."""
    load_s: dict[str, float]
    """Seconds by stage of the start."""
    peaks: Peaks | None
    """The machine's roofs, if they were measured."""
    packed_cache: Outcome
    """Where the packed weights came from."""
    tuning: Tuning
    """Where the choice of tiles came from."""
    draft: GemmuleModel | None = None
    """Guesses for it, on the same team."""
    on_close: Callable[[], None] = lambda: None
    """What else ends with it."""

    @property
    def max_context(self) -> int:
        return self.limits.max_context

    @property
    def num_blocks(self) -> int:
        return self.kv.layout.num_blocks

    @property
    def vocab_size(self) -> int:
        return self.weights.embedding.num_rows

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.file.tensors.values())

    @property
    def num_parameters(self) -> int:
        return sum(tensor.num_rows * tensor.row_elements for tensor in self.file.tensors.values())

    def description(self) -> Sequence[str]:
        lines = describe(self.cpu, self.config, self.weights, self.kv, self.limits, self.attention)
        return lines if self.draft is None else [*lines, *(f"draft {line}" for line in self.draft.description()[2:])]

    def kernel_stats(self) -> Sequence[KernelStats]:
        return self.executor.kernel_stats()

    def kernel_faults(self) -> Sequence[Fault]:
        return self.faults if self.draft is None else tuple({*self.faults, *self.draft.faults})

    def explain(self, stats: Sequence[KernelStats] | None = None) -> tuple[ExplainedOp, ...]:
        """What a step is made of. stats: of the steps to show; without, of all since the load. Any thread may ask."""
        matrices = ((int(packed.data.ctypes.data), packed.matrix) for packed in self.weights.matrices())
        return explain(self.executor.program, matrices, self.kernel_stats() if stats is None else stats)

    def num_compilations(self) -> int:
        return counter().num_compiled + sum(library.num_compiled for library in self._libraries)

    def num_cache_hits(self) -> int:
        return counter().num_found + sum(library.num_found for library in self._libraries)

    @property
    def _libraries(self) -> tuple[KernelLibrary, ...]:
        return (self.library,) if self.draft is None else (self.library, self.draft.library)

    def executor_times(self) -> ExecutorTimes:
        return self.executor.times()

    def tracer(self) -> Tracer:
        return self.executor.tracer()

    def op_shapes(self) -> Mapping[int, str]:
        return matmul_shapes(self.executor.program)

    def trace_labels(self) -> Mapping[str, str]:
        return {"model": self.name, "cpu": self.cpu.name, "threads": str(self.limits.num_threads)}

    def machine_facts(self) -> MachineFacts:
        return machine_facts(
            model=self.name,
            cpu=self.cpu.name,
            arch=self.cpu.arch,
            slots=self.executor.program.slots,
            weights=self.weights,
            attention=self.attention,
            kv=self.kv,
            limits=self.limits,
            load_s=self.load_s,
            peaks=self.peaks,
            packed_cache=self.packed_cache.value,
            tuning=self.tuning.value,
            draft=None if self.draft is None else self.draft.machine_facts(),
        )

    def close(self) -> None:
        self.runner.close()
        self.executor.close()
        self.file.close()
        self.on_close()
