"""The levels of the x86-64 ABI as targets of numba. Knows no CPU at hand and no compiler."""

from collections.abc import Iterable
from typing import Final

_V3: Final = ("avx", "avx2", "bmi", "bmi2", "cx16", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sse4.2", "xsave")
X86_LEVELS: Final = {
    "x86-64-v4": (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"),
    "x86-64-v3": _V3,
}
"""Best first: LLVM's name -> features, of which the ABI names a few more that nothing here is compiled for."""


def level_of(features: Iterable[str]) -> str | None:
    """The best level with all its features among these, None below all levels."""
    had = frozenset(features)
    return next((level for level, wanted in X86_LEVELS.items() if had.issuperset(wanted)), None)


def level_target(level: str) -> tuple[str, str]:
    """The values for NUMBA_CPU_NAME and NUMBA_CPU_FEATURES."""
    return level, ",".join(f"+{feature}" for feature in sorted(X86_LEVELS[level]))
