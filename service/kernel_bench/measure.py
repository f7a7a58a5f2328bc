"""Times matmul micro-kernels through the macro-kernel and its team, beside the ceilings of pipes, memory and NumPy.

What is compared is measured in turn, round by round, and medians are given: a shared machine's speed drifts. GEMM: one
op over weights that fit the caches they fit. GEMV: as many ops over as many copies of the weights as no cache holds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from kernels.cpu import detect_cpu
from kernels.families.direct import pack_lhs
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from kernels.matmul import MatmulOp
from kernels.peaks.measure import MemoryReader
from kernels.quant.random_rows import random_weights
from kernels.registry import FAMILIES
from kernels.runtime.abi import STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import Buffer, Program, ProgramBuilder
from kernels.select import MatmulChoice
from service.errors import SettingsError
from service.kernel_bench.blas import Blas
from service.kernel_bench.ceiling import ceiling_of
from service.kernel_bench.shape import COLD_BYTES, SAMPLE_S, Shape
from service.model.memory import anonymous

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One micro-kernel. Medians over rounds; a share is the median of each round's own ratio.

    gigabytes_per_s: of the file's own bytes of the weights. ceiling: GOP/s from registers, of one thread times threads.
    read_loop: GB/s of vector loads over the same memory. numpy: the f32 product by NumPy's BLAS, GOP/s.
    """

    kernel: str
    weights: str
    rung: str
    m: int
    n: int
    k: int
    threads: int
    microseconds: float
    gigaoperations_per_s: float
    gigabytes_per_s: float
    ceiling: float | None
    share_of_ceiling: float | None
    read_loop: float | None
    share_of_read_loop: float | None
    numpy: float


def pairs(contains: str) -> Iterator[tuple[Family, MatmulVariant, MatmulVariant, bool]]:
    """(family, GEMM, GEMV, whether the GEMV is the one that is meant) of each name with `contains` that runs here."""
    usable = rungs_for(detect_cpu())
    for family in FAMILIES:
        for rung in usable:
            here = [variant for variant in family.variants if variant.rung == rung]
            for variant in here:
                if contains in str(variant.name):
                    gemm = next(v for v in here if not v.is_gemv) if variant.is_gemv else variant
                    gemv = variant if variant.is_gemv else family.gemv_beside(gemm)
                    yield family, gemm, gemv, variant.is_gemv


def run_bench(
    contains: str, shape: Shape, num_threads: int, rounds: int = ROUNDS, cold_bytes: int = COLD_BYTES
) -> Iterator[KernelRow]:
    """Raises SettingsError where nothing fits the filter or a family's rows cannot be that long."""
    found = list(pairs(contains))
    if not found:
        raise SettingsError(
            f"no micro-kernel of this CPU has {contains!r} in its name; gemmule kernels list shows them"
        )
    for family, _, _, _ in found:
        if shape.k % family.k_step:
            raise SettingsError(f"k={shape.k} is no multiple of {family.k_step}, which {family.source} weights need")
    blas = {is_gemv: Blas(shape, num_threads, is_gemv, cold_bytes) for is_gemv in {pair[3] for pair in found}}
    with ExitStack() as opened:
        for one in blas.values():
            opened.callback(one.close)
        for family, gemm, gemv, is_gemv in found:
            yield _measure(family, gemm, gemv, is_gemv, shape, num_threads, rounds, blas[is_gemv], cold_bytes)


def _measure(
    family: Family,
    gemm: MatmulVariant,
    gemv: MatmulVariant,
    is_gemv: bool,
    shape: Shape,
    num_threads: int,
    rounds: int,
    blas: Blas,
    cold_bytes: int,
) -> KernelRow:
    library = KernelLibrary()
    m = 1 if is_gemv else shape.m
    raw = random_weights(family.source, shape.n, shape.k, seed=1)
    packed = gemm.rhs.pack(raw).reshape(-1)
    copies = -(-cold_bytes // packed.size) if is_gemv else 1
    memory = anonymous(copies * packed.size)
    memory.reshape(copies, packed.size)[:] = packed
    choice = MatmulChoice(family, gemm, gemv, "bench")
    program, lhs = _program(choice, memory.reshape(copies, -1), m, shape, library, num_threads)
    variant = gemv if is_gemv else gemm
    x = np.random.default_rng(2).standard_normal((m, shape.k), np.float32)
    rows = pack_lhs(library, variant.lhs_pack, x)
    program.view(lhs)[: rows.size] = rows
    step = np.zeros(1, STEP)
    step["num_tokens"] = m
    ceiling = ceiling_of(variant)
    seconds, ceilings, reads, products = [], [], [], []
    with ExitStack() as opened:
        executor = opened.enter_context(Executor(program, num_threads))
        reader = None
        if is_gemv:
            best = rungs_for(detect_cpu())[0]
            reader = opened.enter_context(MemoryReader(best, memory, num_threads, library))
        executor.run(int(step.ctypes.data))
        for _ in range(rounds):
            if ceiling:
                ceilings.append(num_threads * ceiling.gigaoperations_per_s(SAMPLE_S))
            if reader:
                reads.append(reader.bytes_per_s() / 1e9)
            seconds.append(_run_s(executor, int(step.ctypes.data)) / copies)
            products.append(blas.seconds())
    operations = 2 * m * shape.n * shape.k
    return KernelRow(
        kernel=str(variant.name),
        weights=family.source,
        rung=variant.rung.name,
        m=m,
        n=shape.n,
        k=shape.k,
        threads=num_threads,
        microseconds=1e6 * median(seconds),
        gigaoperations_per_s=operations / median(seconds) / 1e9,
        gigabytes_per_s=raw.nbytes / median(seconds) / 1e9,
        ceiling=median(ceilings) if ceilings else None,
        share_of_ceiling=_share([operations / s / 1e9 for s in seconds], ceilings),
        read_loop=median(reads) if reads else None,
        share_of_read_loop=_share([raw.nbytes / s / 1e9 for s in seconds], reads),
        numpy=operations / median(products) / 1e9,
    )


def _share(ours: list[float], most: list[float]) -> float | None:
    return median(one / other for one, other in zip(ours, most, strict=True)) if most else None


def _program(
    choice: MatmulChoice, copies: npt.NDArray[np.uint8], m: int, shape: Shape, library: KernelLibrary, num_threads: int
) -> tuple[Program, Buffer]:
    builder = ProgramBuilder()
    panels = max(-(-m // v.lhs.mr) * v.lhs.panel_bytes(shape.k) for v in (choice.gemm, choice.gemv))
    lhs = builder.buffer("lhs", np.uint8, (panels,))
    dst = builder.buffer("dst", np.float32, (m, shape.n), is_spread=True)
    for index, rhs in enumerate(copies):
        MatmulOp(f"bench{index}", choice, rhs, shape.n, shape.k, lhs, dst).add(builder, library, num_threads)
    return builder.build(), lhs


def _run_s(executor: Executor, step: int) -> float:
    """Seconds a run, of as many as fill a sample."""
    runs, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SAMPLE_S or not runs:
        executor.run(step)
        runs += 1
    return (time.perf_counter() - begun) / runs
