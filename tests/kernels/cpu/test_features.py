"""CPU detection: HWCAP decoding from the words of real cores, and this machine."""

import platform

import pytest

from kernels.cpu import detect_cpu, hwcap
from kernels.cpu.features import CPU, x86_cpu

# AT_HWCAP and AT_HWCAP2 as Linux reports them.
NEOVERSE_N1 = (0x119FFF, 0x0)  # Graviton2: FPHP, ASIMDHP, ASIMDDP; no SVE, no I8MM
GRAVITON3_HWCAP = 1 << 1 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 20 | 1 << 22
GRAVITON3_HWCAP2 = 1 << 9 | 1 << 12 | 1 << 13 | 1 << 14


def test_neoverse_n1() -> None:
    features = hwcap.decode(*NEOVERSE_N1)
    assert {"asimd", "dotprod", "fullfp16", "lse", "rdm", "rcpc"} <= features
    assert not features & {"i8mm", "bf16", "sve", "sve2", "sme", "sme2"}


def test_graviton3() -> None:
    features = hwcap.decode(GRAVITON3_HWCAP, GRAVITON3_HWCAP2)
    assert {"dotprod", "i8mm", "bf16", "sve"} <= features
    assert not features & {"sve2", "sme"}


def test_half_of_fp16_is_none() -> None:
    assert "fullfp16" not in hwcap.decode(1 << 9, 0)


@pytest.mark.parametrize("name", sorted(hwcap.HWCAP2))
def test_each_bit_of_hwcap2_is_one_feature(name: str) -> None:
    assert hwcap.decode(0, 1 << hwcap.HWCAP2[name]) == {name}


@pytest.mark.parametrize(
    ("features", "bits"), [({"sse2"}, 128), ({"avx", "avx2"}, 256), ({"avx2", "avx", "avx512f"}, 512)]
)
def test_x86_vector_bits(features: set[str], bits: int) -> None:
    assert x86_cpu("any", frozenset(features)).vector_bits == bits


def test_llvm_features_call_asimd_neon() -> None:
    cpu = CPU("aarch64", "neoverse-n1", frozenset({"asimd", "dotprod"}), 128)
    assert cpu.llvm_features() == "+neon,+dotprod"
    assert cpu.has("asimd", "dotprod")
    assert not cpu.has("dotprod", "i8mm")


def test_this_machine() -> None:
    cpu = detect_cpu()
    assert cpu.arch == {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    assert cpu.has("sse2" if cpu.arch == "x86_64" else "asimd")
    assert cpu.vector_bits in (128, 256, 512, 1024, 2048)
    assert cpu is detect_cpu()
