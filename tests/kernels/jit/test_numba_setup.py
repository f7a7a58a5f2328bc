"""The target that numba is given: the host on x86, one for all cores on Arm."""

import pytest

from kernels.cpu.features import CPU
from kernels.jit.numba_setup import numba_target


def test_x86_gets_what_the_cpu_has() -> None:
    cpu = CPU("x86_64", "znver3", frozenset({"avx2", "fma", "f16c"}), 256)
    assert numba_target(cpu) == ("znver3", "+avx2,+f16c,+fma")


@pytest.mark.parametrize("more", [set(), {"i8mm", "bf16"}, {"i8mm", "sve", "sve2", "sme"}])
def test_every_arm_core_with_lse_gets_the_same(more: set[str]) -> None:
    features = frozenset({"asimd", "dotprod", "lse"} | more)
    assert numba_target(CPU("aarch64", "neoverse-v2", features, 128)) == ("generic", "+neon,+lse")


def test_arm_without_lse() -> None:
    assert numba_target(CPU("aarch64", "generic", frozenset({"asimd", "crc"}), 128)) == ("generic", "+neon")
