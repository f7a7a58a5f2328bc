"""How fast this CPU's vector loads take bytes from memory: the most that a GEMV over cold weights could reach."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np
import numpy.typing as npt

from kernels.jit.ir import I32, I64, PTR, Function, vector
from kernels.jit.library import KernelLibrary
from kernels.ladder import AVX2, AVX512_VNNI, NEON, SCALAR, Rung

VECTORS = 8  # loaded in a turn, each into a sum of its own
_WIDTHS = {AVX512_VNNI: 64, AVX2: 32, NEON: 16, SCALAR: 16}


class ReadLoop:
    """For the widest vectors among `rungs`."""

    def __init__(self, rungs: tuple[Rung, ...], library: KernelLibrary) -> None:
        rung = next(rung for rung in _WIDTHS if rung in rungs)
        name = f"read_loop_{rung.name}"
        library.load([(name, lambda: _emit(name, rung))])
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(library.address(name))

    def gigabytes_per_s(self, memory: npt.NDArray[np.uint8], num_threads: int) -> float:
        """One pass over `memory`, a part for each thread."""
        part = memory.size // num_threads
        barrier = threading.Barrier(num_threads + 1)

        def read(start: int) -> None:
            sums = np.zeros(64, np.uint8)
            barrier.wait()
            self._run(part, memory.ctypes.data + start, sums.ctypes.data)
            barrier.wait()

        threads = [threading.Thread(target=read, args=(index * part,)) for index in range(num_threads)]
        for thread in threads:
            thread.start()
        barrier.wait()
        begun = time.perf_counter_ns()
        barrier.wait()
        taken_ns = time.perf_counter_ns() - begun
        for thread in threads:
            thread.join()
        return part * num_threads / taken_ns


def _emit(name: str, rung: Rung) -> str:
    width = _WIDTHS[rung]
    kind = vector(width // 4, I32)
    f = Function(name, [("size", I64), ("source", PTR), ("out", PTR)], rung.attributes)
    sums = [f.variable(f.zero(kind)) for _ in range(VECTORS)]
    with f.loop(0, f["size"] - (VECTORS * width - 1), VECTORS * width) as at:
        for v, total in enumerate(sums):
            total.set(total.get() + f.load(kind, f.offset(f["source"], at), v * width))
    joined = sums[0].get()
    for other in sums[1:]:
        joined = joined + other.get()
    f.store(joined, f["out"])
    f.ret()
    return f.text()
