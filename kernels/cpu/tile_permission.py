"""Asks Linux for AMX's tile registers, which a process has only on request. Knows no kernel."""

import ctypes
import functools
from typing import Final

SYS_ARCH_PRCTL: Final = 158
ARCH_REQ_XCOMP_PERM: Final = 0x1023
XFEATURE_XTILEDATA: Final = 18
TILE_FEATURES: Final = frozenset({"amx-tile", "amx-int8", "amx-bf16", "amx-fp16"})


@functools.cache
def tiles_permitted() -> bool:
    """True if this process may use tiles from now on: all its threads, and its children. Linux 5.16 or newer."""
    return int(ctypes.CDLL(None).syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)) == 0


def usable_features(features: frozenset[str]) -> frozenset[str]:
    """What is left of a CPU's features once the system has been asked."""
    if features.isdisjoint(TILE_FEATURES) or tiles_permitted():
        return features
    return features - TILE_FEATURES
