"""Memory that is put out of the caches is the same memory."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.autotune.evict import ARCH, emit, evictor
from kernels.jit.build import compile_apart
from kernels.jit.library import KernelLibrary


@pytest.mark.parametrize("num_bytes", [0, 1, 64, 65, 1 << 20])
def test_nothing_changes(num_bytes: int) -> None:
    memory = np.random.default_rng(1).integers(0, 256, num_bytes + 1, np.uint8)
    before = memory.copy()
    evictor(KernelLibrary())(memory[1:])
    assert (memory == before).all()


def test_each_line_takes_one_instruction() -> None:
    code = compile_apart(emit(), ARCH, emit="assembly").decode()
    assert code.count("clflushopt") == 1
    assert "$64" in code
