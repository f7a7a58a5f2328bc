"""Large anonymous memory, in huge pages where the system has them. Knows no weights and no cache."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
import numpy.typing as npt

from service.errors import SettingsError

HUGE_PAGE_BYTES = 2 << 20


def check_weights_fit(name: str, num_bytes: int, usable_bytes: int) -> None:
    """Raises SettingsError: better a line at start than the kernel's OOM killer while the weights are packed."""
    if num_bytes > usable_bytes:
        raise SettingsError(
            f"{name}: weights of {num_bytes} bytes do not fit the {usable_bytes} bytes that are free; "
            "raise the memory limit or take a smaller model"
        )


def anonymous(num_bytes: int) -> npt.NDArray[np.uint8]:
    """Zeroed, page-aligned u8[num_bytes]; pages exist once they are written. Freed with the array."""
    room = -(-num_bytes // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    mapping = mmap.mmap(-1, max(room, HUGE_PAGE_BYTES), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Advice only: kernels built without huge pages and user emulation refuse it.
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapping, np.uint8, num_bytes)
