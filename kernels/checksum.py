"""A checksum of memory, about as fast as it can be read. Finds damage, not forgery. Knows no file.

    128 lanes of u32, word i of the memory in lane i mod 128:  s = (s ^ word) * PRIME;  s ^= s >> 15
    digest: BLAKE2b over the lanes as they are in the end

A lane's step is a bijection of its state and one of its word, so one wrong word in a lane always shows in the lanes.
"""

from __future__ import annotations

import ctypes
import hashlib

import numpy as np
import numpy.typing as npt

from kernels.jit.ir import I32, I64, PTR, Function, vector
from kernels.jit.library import KernelLibrary
from kernels.ladder import Rung

STEP_BYTES = 512
"""Memory is a multiple of it."""
DIGEST_BYTES = 16
_PRIME = 0x9E3779B1
_SEED = 0x2545F491
_VECTORS = STEP_BYTES // 64
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)


class Checksum:
    """Any thread may use it; the GIL is free meanwhile."""

    def __init__(self, library: KernelLibrary, rung: Rung) -> None:
        name = name_of(rung)
        library.load([(name, lambda: emit(name, rung))])
        self._run = _CALL(library.address(name))

    def __call__(self, memory: npt.NDArray[np.uint8]) -> bytes:
        """memory: u8[n], n a multiple of STEP_BYTES."""
        assert memory.ndim == 1, "bytes in a row"
        assert memory.flags.c_contiguous, "bytes side by side"
        assert memory.size % STEP_BYTES == 0, f"{memory.size} bytes are no multiple of {STEP_BYTES}"
        lanes = np.full(STEP_BYTES // 4, _SEED, np.uint32)
        self._run(memory.size // STEP_BYTES, memory.ctypes.data, lanes.ctypes.data)
        return hashlib.blake2b(lanes.tobytes(), digest_size=DIGEST_BYTES).digest()


def name_of(rung: Rung) -> str:
    return f"checksum_{rung.name}"


def reference(memory: npt.NDArray[np.uint8]) -> bytes:
    """The same in NumPy."""
    lanes = np.full(STEP_BYTES // 4, _SEED, np.uint32)
    for words in memory.view(np.uint32).reshape(-1, STEP_BYTES // 4):
        lanes = (lanes ^ words) * np.uint32(_PRIME)
        lanes ^= lanes >> np.uint32(15)
    return hashlib.blake2b(lanes.tobytes(), digest_size=DIGEST_BYTES).digest()


def emit(name: str, rung: Rung) -> str:
    """IR of `checksum(count of steps, data, lanes)`."""
    features = rung.attributes if not rung.streaming_bits else "+neon"
    f = Function(name, [("count", I64), ("data", PTR), ("lanes", PTR)], features)
    wide = vector(16, I32)
    prime, shift = f.const(wide, _PRIME - (1 << 32)), f.const(wide, 15)
    lanes = [f.variable(f.load(wide, f["lanes"], 64 * v, align=4)) for v in range(_VECTORS)]
    with f.loop(0, f["count"]) as step:
        base = f.offset(f["data"], step * STEP_BYTES)
        for v, lane in enumerate(lanes):
            word = f.load(wide, base, 64 * v, align=4)
            mixed = f.emit(wide, f"xor {wide} {lane.get().name}, {word.name}") * prime
            lane.set(f.emit(wide, f"xor {wide} {mixed.name}, {(mixed >> shift).name}"))
    for v, lane in enumerate(lanes):
        f.store(lane.get(), f["lanes"], 64 * v, align=4)
    f.ret()
    return f.text()
