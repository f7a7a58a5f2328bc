"""Compiles micro-kernels natively, the Arm ones also, into the cache that the emulated Python reads. Runs none of them.

LLVM under emulation is some fifteen times slower, and the objects are the same: they are kept under the hash of their
IR, the version of LLVM and the architecture. What is missing here is compiled under emulation all the same.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import product
from multiprocessing import get_context

from kernels import checksum
from kernels.attention.variants import ATTENTION_VARIANTS
from kernels.autotune import evict
from kernels.folder import cache_folder
from kernels.jit.object_cache import ObjectCache
from kernels.ladder import ANY_ARCH, LADDER
from kernels.peaks.emit import KINDS, compute_loop, read_loop
from kernels.registry import matmul_variants
from kernels.runtime.kv_types import F16_KV, F32_KV, I16_KV, KV_TYPES, Q8_0_KV

ARCH = "aarch64"
NUM_PROCESSES = 2
HEAD_DIMS = (16, 32, 64, 80, 96, 128, 256)  # of the tests and of the models in use
# Windows and soft caps of the tests, which have them at head_dims of 32 and 96.
LIMITS = ((1, None), (20, None), (130, None), (None, 5.0), (60, 1.5))


def kernels_of(arch: str) -> Iterator[str]:
    """The IR of every matmul, packing and attention micro-kernel, and of every peak loop, of this architecture."""
    for rung in LADDER:
        if rung.arch in (arch, ANY_ARCH):
            yield read_loop(rung).text
            yield checksum.emit(checksum.name_of(rung), rung)
            yield from (compute_loop(rung, kind).text for kind in KINDS)
    if arch == evict.ARCH:
        yield evict.emit()
    for _, variant in matmul_variants():
        if variant.rung.arch in (arch, ANY_ARCH):
            yield variant.emit()
            yield variant.lhs_pack.emit()
    for attention in ATTENTION_VARIANTS:
        if attention.rung.arch in (arch, ANY_ARCH):
            for head_dim in HEAD_DIMS:
                yield attention.merge(head_dim).emit()
                for kv, rows in product({F16_KV, attention.kv_type}, range(1, attention.rows + 1)):
                    yield attention.tile(head_dim, rows, kv=kv).emit()
                for kv, rows in product((I16_KV, Q8_0_KV, F32_KV), {1, 2, 3, attention.rows}):
                    yield attention.tile(head_dim, rows, kv=kv).emit()
                for kv in KV_TYPES:
                    yield attention.wide_tile(head_dim, kv=kv).emit()
            for limits, kv in product(LIMITS, (F16_KV, I16_KV)):
                yield attention.tile(32, None, *limits, kv).emit()
                for rows in {1, min(3, attention.rows), attention.rows}:
                    yield attention.tile(96, rows, *limits, kv).emit()
                yield attention.wide_tile(96, *limits, kv).emit()


def keep(ir: str, arch: str = ARCH) -> int:
    """Compiles one kernel unless the cache has it; returns how many were compiled."""
    cache = ObjectCache(cache_folder() / "objects", arch)
    cache.object(ir)
    return cache.num_compiled


def compile_all(arch: str = ARCH) -> str:
    """What was done, in a line. LLVM ends a process whose code it cannot select: then the rest is left."""
    kernels = list(dict.fromkeys(kernels_of(arch)))
    try:
        with ProcessPoolExecutor(NUM_PROCESSES, mp_context=get_context("spawn")) as pool:
            num_compiled = sum(pool.map(partial(keep, arch=arch), kernels, chunksize=8))
    except BrokenProcessPool:
        return "LLVM ended while compiling a micro-kernel; the tests will tell which"
    return f"{len(kernels)} micro-kernels, {num_compiled} of them compiled now"


if __name__ == "__main__":
    print(compile_all(*sys.argv[1:]))
