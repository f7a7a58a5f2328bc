"""The checksum of memory: the same on every rung, and any single bit shows."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.checksum import STEP_BYTES, Checksum, reference
from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.ladder import Rung, rungs_for

RUNGS = rungs_for(detect_cpu(), None)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: str(rung.name))
@pytest.mark.parametrize("steps", [0, 1, 2, 33])
def test_every_rung_computes_the_same(rung: Rung, steps: int) -> None:
    memory = np.random.default_rng(steps).integers(0, 256, steps * STEP_BYTES, np.uint8)
    assert Checksum(KernelLibrary(), rung)(memory) == reference(memory)


def test_what_is_written_into_files_stays_the_same() -> None:
    memory = (np.arange(4 * STEP_BYTES) * 7 % 251).astype(np.uint8)
    assert reference(memory).hex() == "4a94ef542be6dc37faae976c972afde1"


def test_any_single_bit_shows() -> None:
    checksum = Checksum(KernelLibrary(), RUNGS[0])
    memory = np.random.default_rng(1).integers(0, 256, 2 * STEP_BYTES, np.uint8)
    found = {checksum(memory)}
    for bit in range(8 * memory.size):
        memory[bit // 8] ^= 1 << bit % 8
        found.add(checksum(memory))
        memory[bit // 8] ^= 1 << bit % 8
    assert len(found) == 8 * memory.size + 1


def test_zeros_are_not_nothing() -> None:
    checksum = Checksum(KernelLibrary(), RUNGS[0])
    assert len({checksum(np.zeros(steps * STEP_BYTES, np.uint8)) for steps in range(8)}) == 8
