"""The ladder of instruction sets, best first. Knows which CPU features a rung needs, no kernel.

A rung is what a kernel is written for; `scalar` runs everywhere and is each family's bit-exact oracle.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.cpu import CPU
from kernels.errors import KernelsError

ANY_ARCH = ""


@dataclass(frozen=True, slots=True)
class Rung:
    """`needs`: CPU features as LLVM and Linux name them. `attributes`: LLVM's function attribute of the same.

    vector_bits, streaming_bits: the vector length that the kernels and their packed layouts are made for, exactly;
    None where it does not matter.
    """

    name: str
    arch: str
    needs: frozenset[str]
    attributes: str
    vector_bits: int | None = None
    streaming_bits: int | None = None

    def runs_on(self, cpu: CPU) -> bool:
        fits = self.vector_bits in (None, cpu.vector_bits) and self.streaming_bits in (None, cpu.streaming_bits)
        return fits and self.arch in (ANY_ARCH, cpu.arch) and cpu.has(*self.needs)


_AVX2 = ("avx2", "bmi", "bmi2", "f16c", "fma")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl")


def _rung(name: str, arch: str, *needs: str, vector_bits: int | None = None, streaming_bits: int | None = None) -> Rung:
    # LLVM would split vpdpwssd in two where that shortens a chain; what it costs is one of two pipes.
    features = [*needs, *(["fast-dpwssd"] if "avx512vnni" in needs else [])]
    attributes = ",".join(f"+{'neon' if feature == 'asimd' else feature}" for feature in features)
    return Rung(name, arch, frozenset(needs), attributes, vector_bits, streaming_bits)


# One rung a vector length, of which a CPU has one: the layouts differ.
SME2 = tuple(_rung("sme2", "aarch64", "asimd", "sme", "sme2", streaming_bits=bits) for bits in (512, 256, 128))
# At 128 bits SVE has nothing over NEON here; only the Neoverse V1 has 256.
SVE_I8MM = _rung("sve_i8mm", "aarch64", "asimd", "dotprod", "i8mm", "sve", vector_bits=256)
NEON_I8MM = _rung("neon_i8mm", "aarch64", "asimd", "dotprod", "i8mm")
NEON_DOTPROD = _rung("neon_dotprod", "aarch64", "asimd", "dotprod")
NEON = _rung("neon", "aarch64", "asimd")
AMX_INT8 = _rung("amx_int8", "x86_64", *_AVX512, "avx512vnni", "amx-tile", "amx-int8")
AVX512_VNNI = _rung("avx512_vnni", "x86_64", *_AVX512, "avx512vnni")
AVX_VNNI = _rung("avx_vnni", "x86_64", *_AVX2, "avxvnni")
AVX2 = _rung("avx2", "x86_64", *_AVX2)
SCALAR = _rung("scalar", ANY_ARCH)

LADDER = (*SME2, SVE_I8MM, NEON_I8MM, NEON_DOTPROD, NEON, AMX_INT8, AVX512_VNNI, AVX_VNNI, AVX2, SCALAR)


class UnknownRung(KernelsError):
    """A cap that names no rung of this machine's ladder."""


def rungs_for(cpu: CPU, cap: str | None = None) -> tuple[Rung, ...]:
    """The rungs this CPU can run, best first; `cap` names the best one allowed. Raises UnknownRung."""
    usable = [rung for rung in LADDER if rung.runs_on(cpu)]
    if cap is None:
        return tuple(usable)
    names = [rung.name for rung in usable]
    if cap not in names:
        raise UnknownRung(f"GEMMULE_ISA={cap}: this {cpu.arch} CPU offers {', '.join(names)}")
    return tuple(usable[names.index(cap) :])
