"""Lets go of LLVM's own code once all is compiled: some 50 MB that would stay resident unused. Knows no kernel."""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_CODE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp .*/libllvmlite\.so$", re.MULTILINE)


def forget_compiler() -> int:
    """Bytes of code whose pages are given back. A later compilation works, and reads them again."""
    if not hasattr(mmap, "MADV_DONTNEED") or not _MAPS.exists():
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    # Pages of a file that nobody may write to: what is dropped is in the file.
    return sum(size for start, size in compiler_code() if madvise(start, size, mmap.MADV_DONTNEED) == 0)


def compiler_code() -> Iterator[tuple[int, int]]:
    """(address, bytes) of each executable mapping."""
    for start, end in _CODE.findall(_MAPS.read_text()):
        yield int(start, 16), int(end, 16) - int(start, 16)
