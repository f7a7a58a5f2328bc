"""Micro-kernels of this process: emitted, compiled or read from the cache, loaded, addressed by name."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from pathlib import Path

from kernels.jit.build import ObjectCache, address, load
from kernels.jit.folder import cache_folder
from kernels.jit.perf_map import add_to_perf_map, code_bytes


class KernelLibrary:
    """Loads each name once. `num_compiled` counts those that no cache held. `perf_map`: tell `perf` their names."""

    def __init__(self, folder: Path | None = None, perf_map: bool = False) -> None:
        self._perf_map = perf_map
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
        objects = {name: self._cache.object(emit()) for name, emit in missing.items()}
        load(list(objects.values()))
        _LOADED.update(missing)
        self._addresses.update({name: address(name) for name in missing})
        if self._perf_map:
            for name, made in objects.items():
                add_to_perf_map(name, self._addresses[name], code_bytes(made))

    def address(self, name: str) -> int:
        return self._addresses.get(name) or address(name)


_LOADED: set[str] = set()  # MCJIT's engine is one per process, so its symbols are too
