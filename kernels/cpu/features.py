"""The CPU as a value: architecture, LLVM's name for the core, features, vector lengths. Chooses nothing.

Features are LLVM's names (`avx512vnni`, `avxvnni`, `f16c`; `dotprod`, `i8mm`, `sve2`), except that Arm's `neon` is
called `asimd` as Linux does. On Arm they come from the kernel's HWCAP words, because LLVM derives them from the core's
name and an unknown core would have none; on x86 from CPUID (through LLVM), masked by what the system saves.
"""

import functools
import platform
from dataclasses import dataclass

from kernels.cpu import hwcap
from kernels.cpu.host_core import host_core
from kernels.cpu.tile_permission import usable_features
from kernels.errors import KernelsError


@dataclass(frozen=True, slots=True)
class CPU:
    """`vector_bits`: widest vector register outside streaming mode. `streaming_bits`: SME's vector length or 0."""

    arch: str  # "x86_64" or "aarch64"
    name: str  # LLVM's, "generic" for a core it does not know
    features: frozenset[str]
    vector_bits: int
    streaming_bits: int = 0

    def has(self, *features: str) -> bool:
        return self.features.issuperset(features)

    def llvm_features(self) -> str:
        """The features as LLVM's attribute string: "+a,+b"."""
        return ",".join(f"+{'neon' if name == 'asimd' else name}" for name in sorted(self.features))


@functools.cache
def detect_cpu() -> CPU:
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        core = host_core()
        return x86_cpu(core.name, usable_features(core.features))
    if machine in ("aarch64", "arm64"):
        features = hwcap.decode(hwcap.read_hwcap(), hwcap.read_hwcap2())
        sve_bits = hwcap.read_sve_bits() if "sve" in features else 0
        streaming_bits = hwcap.read_sme_bits() if "sme" in features else 0
        return CPU("aarch64", host_core().name, features, max(128, sve_bits), streaming_bits)
    raise KernelsError(f"Gemmule runs on aarch64 and x86_64, this is {machine}")


def x86_cpu(name: str, features: frozenset[str]) -> CPU:
    bits = 512 if "avx512f" in features else 256 if "avx" in features else 128
    return CPU("x86_64", name, features, bits)
