"""The features that numba is given: all of the host's on x86, never SVE on Arm."""

from kernels.cpu.features import CPU
from kernels.jit.numba_setup import NEVER_ON_ARM, numba_features


def test_x86_gets_what_the_cpu_has() -> None:
    cpu = CPU("x86_64", "znver3", frozenset({"avx2", "fma", "f16c"}), 256)
    assert numba_features(cpu) == "+avx2,+f16c,+fma"


def test_arm_states_every_feature_and_never_sve() -> None:
    features = frozenset({"asimd", "dotprod", "i8mm", "sve", "sve2", "sme"})
    stated = numba_features(CPU("aarch64", "neoverse-v2", features, 128)).split(",")
    assert {"+neon", "+dotprod", "+i8mm", "-bf16", "-lse"} <= set(stated)
    assert {f"-{name}" for name in NEVER_ON_ARM} <= set(stated)
    assert len(stated) == len({feature[1:] for feature in stated})
