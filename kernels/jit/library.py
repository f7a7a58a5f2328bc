"""Micro-kernels of this process: emitted, compiled or read from the cache, loaded, addressed by name."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from pathlib import Path

from kernels.jit.build import ObjectCache, address, load
from kernels.jit.folder import cache_folder


class KernelLibrary:
    """Loads each name once. `num_compiled` counts those that no cache held."""

    def __init__(self, folder: Path | None = None) -> None:
        self._cache = ObjectCache(folder or cache_folder() / "objects", platform.machine())
        self._addresses: dict[str, int] = {}

    @property
    def num_compiled(self) -> int:
        return self._cache.num_compiled

    @property
    def num_found(self) -> int:
        """In the cache."""
        return self._cache.num_found

    def load(self, kernels: Iterable[tuple[str, Callable[[], str]]]) -> None:
        """kernels: (symbol, emitter of its IR). Many at once are cheaper than one by one."""
        missing = {name: emit for name, emit in kernels if name not in self._addresses and name not in _LOADED}
        load([self._cache.object(emit()) for emit in missing.values()])
        _LOADED.update(missing)
        self._addresses.update({name: address(name) for name in missing})

    def address(self, name: str) -> int:
        return self._addresses.get(name) or address(name)


_LOADED: set[str] = set()  # MCJIT's engine is one per process, so its symbols are too
