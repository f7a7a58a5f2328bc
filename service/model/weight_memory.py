"""Where packed weights lie: in a file that is kept and shared, or in memory of this process. Knows no model's parts.

kept     mapped read-only from the cache folder, packed into it first if it is not there
copied   the same, then read into huge pages of this process: for systems that map files by small pages only
neither  packed into huge pages of this process: the cache is off, too small, or its disk refuses
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.gguf.digest import source_digest
from service.gguf.reader import GGUFFile
from service.model.memory import anonymous
from service.model.packing import Bytes, Packing
from service.packed.file import Digest, fill_in_memory
from service.packed.folder import Outcome, PackedFolder
from service.packed.header import PackedHeader

KEPT_FROM_BYTES = 16 << 20
"""Less is packed in the time that a file takes to be written."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """folder: of packed weights. limit_bytes: of all of them; 0 keeps none. copies: into memory of this process."""

    folder: Path
    limit_bytes: int
    copies: bool = False
    from_bytes: int = KEPT_FROM_BYTES


class WeightMemory:
    """Provides the memory of one model's packing; `outcome` says afterwards where it came from."""

    def __init__(self, file: GGUFFile, model: str, cpu: str, keeping: Keeping, digest: Digest, num_threads: int):
        self._file, self._model, self._cpu = file, model, cpu
        self._keeping, self._digest, self._num_threads = keeping, digest, num_threads
        self.outcome = Outcome.OFF

    def __call__(self, packing: Packing) -> Bytes:
        keeping = self._keeping
        kept = None
        if keeping.limit_bytes and packing.num_bytes >= keeping.from_bytes:
            folder = PackedFolder(keeping.folder, keeping.limit_bytes, self._digest, self._num_threads)
            key = packing.key(source_digest(self._file))
            header = PackedHeader(key, self._model, self._cpu, packing.layouts, packing.num_bytes, ())
            kept, self.outcome = folder.obtain(header, packing.fill)
        if kept is not None and not keeping.copies:
            return kept
        return in_memory(packing, self._num_threads, kept)


def in_memory(packing: Packing, num_threads: int = 1, kept: Bytes | None = None) -> Bytes:
    """Packed, or copied from what was kept."""
    memory = anonymous(packing.num_bytes)
    fill = packing.fill if kept is None else lambda first, into: _copy(kept, first, into)
    fill_in_memory(memory, fill, num_threads)
    return memory


def _copy(source: Bytes, first: int, into: Bytes) -> None:
    into[:] = source[first : first + into.size]
