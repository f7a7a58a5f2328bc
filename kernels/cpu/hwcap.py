"""Arm's HWCAP words, from the kernel's auxiliary vector, as feature names. Reads, decides nothing.

Bits: Linux, arch/arm64/include/uapi/asm/hwcap.h. Names: LLVM's, but `asimd` for `neon`.
"""

import ctypes
from typing import Final

AT_HWCAP: Final = 16
AT_HWCAP2: Final = 26
PR_SVE_GET_VL: Final = 51
PR_SME_GET_VL: Final = 64
VL_LENGTH_MASK: Final = 0xFFFF

HWCAP: Final[dict[str, int]] = {
    "asimd": 1,
    "crc": 7,
    "lse": 8,
    "rdm": 12,
    "complxnum": 14,
    "rcpc": 15,
    "dotprod": 20,
    "sve": 22,
    "fp16fml": 23,
    "lse2": 25,
    "rcpc-immo": 26,
    "flagm": 27,
}
# Needs both the scalar (9) and the vector (10) half.
HWCAP_FULLFP16: Final = 1 << 9 | 1 << 10

HWCAP2: Final[dict[str, int]] = {
    "sve2": 1,
    "fptoint": 8,
    "f32mm": 10,
    "f64mm": 11,
    "i8mm": 13,
    "bf16": 14,
    "sme": 23,
    "sme-i16i64": 24,
    "sme-f64f64": 25,
    "sve2p1": 36,
    "sme2": 37,
    "sme2p1": 38,
}
KNOWN: Final = frozenset(HWCAP) | frozenset(HWCAP2) | {"fullfp16"}


def decode(hwcap: int, hwcap2: int) -> frozenset[str]:
    found = {name for name, bit in HWCAP.items() if hwcap >> bit & 1}
    found |= {name for name, bit in HWCAP2.items() if hwcap2 >> bit & 1}
    if hwcap & HWCAP_FULLFP16 == HWCAP_FULLFP16:
        found.add("fullfp16")
    return frozenset(found)


def read_hwcap() -> int:
    return _getauxval(AT_HWCAP)


def read_hwcap2() -> int:
    return _getauxval(AT_HWCAP2)


def read_sve_bits() -> int:
    """SVE vector length of this thread in bits."""
    return _vector_length_bits(PR_SVE_GET_VL)


def read_sme_bits() -> int:
    """Streaming SVE vector length of this thread in bits."""
    return _vector_length_bits(PR_SME_GET_VL)


def _getauxval(key: int) -> int:
    function = ctypes.CDLL(None).getauxval
    function.restype, function.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(function(key))


def _vector_length_bits(option: int) -> int:
    prctl = ctypes.CDLL(None).prctl
    prctl.restype, prctl.argtypes = ctypes.c_int, [ctypes.c_int] + [ctypes.c_ulong] * 4
    answer = int(prctl(option, 0, 0, 0, 0))
    return 0 if answer < 0 else (answer & VL_LENGTH_MASK) * 8
