"""What a loaded model can say about the machine and its micro-kernels, and a stopwatch for the stages of a start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

from kernels.attention.variants import AttentionVariant
from kernels.families.variant import MatmulVariant
from kernels.matmul import MATMUL, matmul
from kernels.peaks.measure import Peaks
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.program import KernelSlot, Program
from kernels.select import MatmulChoice
from service.metrics.machine import ChosenKernel, MachineFacts
from service.model.config import StepLimits
from service.model.kv_cache import KVCache
from service.model.weights import Weights

# A scale and a sum are floats, the products are bytes: what counts is what the LHS is packed as.
INT8, F32 = "int8", "f32"
NO_RUNG = "native"
"""Compiled by numba for exactly this CPU, on no rung of the ladder."""


class Stopwatch:
    """Seconds by stage."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun_s = self._clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - begun_s


def machine_facts(
    *,
    model: str,
    cpu: str,
    arch: str,
    slots: Iterable[KernelSlot],
    weights: Weights,
    attention: AttentionVariant,
    kv: KVCache,
    limits: StepLimits,
    load_s: dict[str, float],
    peaks: Peaks | None,
    packed_cache: str,
    tuning: str,
    draft: MachineFacts | None = None,
) -> MachineFacts:
    """`slots`: of the program, what its ops are charged to."""
    choices = {packed.matrix.choice for packed in weights.matrices()}
    kernels = {chosen: None for slot in slots for chosen in (_chosen(slot, choices, attention),)}
    return MachineFacts(
        version=version("gemmule"),
        model=model,
        cpu=cpu,
        arch=arch,
        num_threads=limits.num_threads,
        kernels=tuple(kernels),
        load_s=load_s,
        packed_cache=packed_cache,
        tuning=tuning,
        draft=draft,
        weight_bytes=weights.packed_bytes,
        kv_type=kv.layout.kv_type.name,
        kv_bytes=kv.layout.num_bytes,
        kv_block_tokens=BLOCK_TOKENS,
        peak_rung=peaks.rung if peaks else "",
        peak_bytes_per_s=peaks.bytes_per_s if peaks else None,
        peak_operations_per_s=peaks.operations_per_s if peaks else {},
    )


def matmul_shapes(program: Program) -> dict[int, str]:
    """n x k of the matmuls, by their place in the program."""
    shapes = {}
    for index, record in enumerate(program.records):
        if int(record.view(MATMUL)[0]["run"]) == matmul.address:
            shapes[index] = f"{int(record.view(MATMUL)[0]['n'])} x {int(record.view(MATMUL)[0]['k'])}"
    return shapes


def _chosen(slot: KernelSlot, choices: Iterable[MatmulChoice], attention: AttentionVariant) -> ChosenKernel:
    for choice in choices:
        for use, variant in (("gemm", choice.gemm), ("gemv", choice.gemv)):
            if slot.kernel == str(variant.name):
                return ChosenKernel(slot.op, slot.kernel, use, variant.rung.name, _peak(variant))
            if slot.kernel.endswith(variant.lhs_pack.name):
                return ChosenKernel(slot.op, slot.kernel, use, variant.rung.name, F32)
    rung = attention.rung.name if slot.kernel.startswith("attention") else NO_RUNG
    return ChosenKernel(slot.op, slot.kernel, "any", rung, F32)


def _peak(variant: MatmulVariant) -> str:
    return INT8 if variant.name.lhs.startswith("q") else F32
