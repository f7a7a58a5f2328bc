"""Micro-kernels of this process: emitted, compiled or read from the cache, loaded, addressed by name."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from pathlib import Path

from kernels.folder import cache_folder
from kernels.jit.memory_image import load
from kernels.jit.object_cache import ObjectCache
from kernels.jit.perf_map import add_to_perf_map


class KernelLibrary:
    """Loads each name once. `num_compiled` counts those that no cache held. `perf_map`: tell `perf` their names."""

    def __init__(self, folder: Path | None = None, perf_map: bool = False) -> None:
        self._perf_map = perf_map
        self._cache = ObjectCache(folder or cache_folder() / "objects", platform.machine())

    @property
    def num_compiled(self) -> int:
        return self._cache.num_compiled

    @property
    def num_found(self) -> int:
        """In the cache."""
        return self._cache.num_found

    def load(self, kernels: Iterable[tuple[str, Callable[[], str]]]) -> None:
        """kernels: (symbol, emitter of its IR)."""
        for name, emit in kernels:
            if name in _ADDRESSES:
                continue
            made = self._cache.object(emit())
            _ADDRESSES[name] = load(made)[name]
            if self._perf_map:
                add_to_perf_map(name, _ADDRESSES[name], made.code_bytes)

    def address(self, name: str) -> int:
        """Of a loaded one."""
        return _ADDRESSES[name]


_ADDRESSES: dict[str, int] = {}
"""Of this process, whichever library loaded it."""
