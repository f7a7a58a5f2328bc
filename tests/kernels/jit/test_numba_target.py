"""The target that numba is given: a level of the ABI on x86, one for all cores on Arm."""

import pytest

from kernels.cpu.features import CPU
from kernels.jit.levels import X86_LEVELS, level_target
from kernels.jit.numba_target import numba_target


@pytest.mark.parametrize("level", list(X86_LEVELS))
@pytest.mark.parametrize("name", ["znver4", "sapphirerapids"])
def test_x86_cpus_of_a_level_get_the_same(level: str, name: str) -> None:
    cpu = CPU("x86_64", name, frozenset({*X86_LEVELS[level], "sse2", "vaes"}), 512)
    assert numba_target(cpu) == level_target(level)
    assert level_target(level)[0] == level


def test_x86_below_the_levels_gets_what_the_cpu_has() -> None:
    cpu = CPU("x86_64", "sandybridge", frozenset({"avx", "popcnt"}), 256)
    assert numba_target(cpu) == ("sandybridge", "+avx,+popcnt")


@pytest.mark.parametrize("more", [set(), {"i8mm", "bf16"}, {"i8mm", "sve", "sve2", "sme"}])
def test_every_arm_core_with_lse_gets_the_same(more: set[str]) -> None:
    features = frozenset({"asimd", "dotprod", "lse"} | more)
    assert numba_target(CPU("aarch64", "neoverse-v2", features, 128)) == ("generic", "+neon,+lse")


def test_arm_without_lse() -> None:
    assert numba_target(CPU("aarch64", "generic", frozenset({"asimd", "crc"}), 128)) == ("generic", "+neon")
