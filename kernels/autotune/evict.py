"""Puts memory out of all caches: a race then reads weights as the decode of a large model does.

A guest may be told of 260 MiB of cache that it shares with others, in which copies of some MiB stay, while a model of
700 MiB does not: there, a GEMV that asks ahead was no faster in the race, and 1.34 times as fast in a decode.
x86 with CLFLUSHOPT alone, 20 GB/s (CLFLUSH: 0.5); elsewhere copies have to be more than caches hold.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels.cpu import detect_cpu
from kernels.jit.ir import CACHE_LINE, I64, PTR, VOID, Function
from kernels.jit.library import KernelLibrary

ARCH, FEATURE = "x86_64", "clflushopt"
_NAME = "evict_lines"
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)


def evictor(library: KernelLibrary) -> Callable[[npt.NDArray[np.uint8]], None]:
    """Puts what it is called with out of all caches; does nothing where the CPU has no instruction for it."""
    if FEATURE not in detect_cpu().features:
        return lambda memory: None
    library.load([(_NAME, emit)])
    run = _CALL(library.address(_NAME))
    return lambda memory: run(memory.nbytes, memory.ctypes.data)


def emit() -> str:
    f = Function(_NAME, [("num_bytes", I64), ("data", PTR)], f"+{FEATURE}")
    with f.loop(0, f["num_bytes"], CACHE_LINE) as at:
        f.call("llvm.x86.clflushopt", VOID, f.offset(f["data"], at))
    f.ret()
    return f.text()
