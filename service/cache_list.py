"""The packed weights in the cache folder, as lines: what there is, whether it is whole, what was removed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kernels.autotune.memory import forget_all
from kernels.checksum import Checksum
from kernels.cpu import detect_cpu, usable_cores
from kernels.folder import cache_folder
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from service.packed.file import map_checked
from service.packed.folder import PACKED, Entry, entries, prune
from service.packed.header import DamagedFile

MIB = 1 << 20


def list_lines(limit_bytes: int) -> Iterator[str]:
    found = entries(cache_folder() / PACKED)
    now_s = time.time()
    for entry in found:
        yield f"{_size(entry.file_bytes)}  {_age(now_s - entry.used_s):>6}  {_what(entry)}"
    yield f"{_size(sum(entry.file_bytes for entry in found))}  of at most {limit_bytes / MIB:.0f} MiB"


def verified() -> Iterator[tuple[str, bool]]:
    """(line, whether the file is whole)"""
    digest = Checksum(KernelLibrary(), rungs_for(detect_cpu(), None)[0])
    for entry in entries(cache_folder() / PACKED):
        try:
            map_checked(entry.path, digest, usable_cores())
        except DamagedFile as error:
            yield f"damaged  {_what(entry)}: {error}", False
        else:
            yield f"whole    {_what(entry)}", True


def prune_lines(limit_bytes: int) -> Iterator[str]:
    removed = prune(cache_folder() / PACKED, limit_bytes)
    for entry in removed:
        yield f"removed  {_size(entry.file_bytes)}  {_what(entry)}"
    if limit_bytes == 0 and (num_tunings := forget_all(cache_folder() / PACKED)):
        yield f"removed  {num_tunings} files of measured tiles"
    yield f"{sum(entry.file_bytes for entry in removed) / MIB:.0f} MiB removed"


def _what(entry: Entry) -> str:
    header = entry.header
    if header is None:
        return f"{entry.path.name} ({entry.fault})"
    return f"{entry.path.name}  {header.model}  {', '.join(header.layouts)}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / MIB:8.1f} MiB"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
