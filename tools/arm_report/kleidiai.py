"""KleidiAI's f32_qsi8d32p_qsi4c32p micro-kernels, August 2026, measured once with llvm-mca 19 and QEMU: n = k = 512."""

from __future__ import annotations

from dataclasses import dataclass, field

DATE = "August 2026"


@dataclass(frozen=True, slots=True)
class Mark:
    """`kernel`: tile and technique. `macs_per_instruction`: of the whole call. `macs_per_cycle`: by core, modelled."""

    kernel: str
    instructions: int | None
    macs_per_instruction: float
    macs_per_cycle: dict[str, float] = field(default_factory=dict)


N1, N2, V1, V2 = "neoverse-n1", "neoverse-n2", "neoverse-v1", "neoverse-v2"

# By our rung (for SME2 with its streaming bits) and m: its best there.
MARKS: dict[tuple[str, int | None, bool], Mark] = {
    ("neon_dotprod", None, False): Mark("16x4 dotprod", 2_743_368, 6.1, {N1: 17.2, V1: 34.4, V2: 34.4}),
    ("neon_dotprod", None, True): Mark("1x4 dotprod", 83_872, 3.1, {N1: 10.2, V1: 20.3, V2: 20.4}),
    ("neon_i8mm", None, False): Mark("8x4x32 i8mm", 2_068_589, 8.1, {N2: 23.8, V1: 47.6, V2: 47.6}),
    ("neon_i8mm", None, True): Mark("1x4 dotprod", 83_872, 3.1, {V1: 20.3, V2: 20.4}),
    ("sve_i8mm", None, False): Mark("16x8 sve i8mm", 912_201, 18.4, {V1: 44.7}),
    ("sve_i8mm", None, True): Mark("1x8 sve dotprod", 44_959, 5.8, {V1: 17.0}),
    ("sme2", 128, False): Mark("sme2 mopa", 1_622_981, 10.3),
    ("sme2", 256, False): Mark("sme2 mopa", 602_517, 27.8),
    ("sme2", 512, False): Mark("sme2 mopa", 249_053, 67.4),
    ("sme2", 128, True): Mark("sme2 sdot", 33_450, 7.8),
    ("sme2", 256, True): Mark("sme2 sdot", 16_762, 15.6),
    ("sme2", 512, True): Mark("sme2 sdot", 8_418, 31.1),
}
