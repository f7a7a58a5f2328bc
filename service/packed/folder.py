"""The folder of packed weights: one file a key, made once however many processes want it, the oldest go first.

Knows no model. Who writes holds a lock on `KEY.partial`, fills it, has it on disk and renames it; the lock goes with
the process, so what a killed one leaves behind is written over by the next. Whatever the disk refuses, full, read-only
or broken, costs the cache and no start.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from service.packed.file import Bytes, Digest, Fill, map_checked, read_header, write
from service.packed.header import DamagedFile, PackedHeader

log = logging.getLogger(__name__)

PACKED = "packed"
"""The folder, in the cache folder."""
SUFFIX, PARTIAL = ".packed", ".partial"
LOCK_PATIENCE_S = 300.0
"""How long to wait for another process that packs the same weights."""
LOCK_POLL_S = 0.05


class Outcome(Enum):
    """What the cache was worth to a start."""

    HIT = "hit"
    MISS = "miss"
    OFF = "off"
    """Not wanted, or the weights are too small to be kept."""
    FAILED = "failed"
    """Wanted, but the disk refused."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder. header None: it is damaged, `fault` says how."""

    path: Path
    file_bytes: int
    used_s: float
    """Unix time of the last start that mapped it."""
    header: PackedHeader | None
    fault: str = ""


class PackedFolder:
    def __init__(
        self,
        path: Path,
        limit_bytes: int,
        digest: Digest,
        num_threads: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path, self._limit_bytes = path, limit_bytes
        self._digest, self._num_threads = digest, num_threads
        self._clock, self._sleep = clock, sleep

    def obtain(self, header: PackedHeader, fill: Fill) -> tuple[Bytes | None, Outcome]:
        """The payload under the header's key, mapped; made by `fill` if there is none. None: the cache is of no use."""
        found = self._find(header.key)
        if found is not None:
            return found, Outcome.HIT
        if header.file_bytes > self._limit_bytes:
            log.info("%d bytes of packed weights are more than the cache may hold: not kept", header.file_bytes)
            return None, Outcome.OFF
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            with self._only_writer(header.key) as descriptor:
                found = self._find(header.key)  # another process was faster
                if found is not None:
                    return found, Outcome.HIT
                self._make_room(header.file_bytes)
                self._write(descriptor, header, fill)
            return map_checked(self._file(header.key), self._digest, self._num_threads)[1], Outcome.MISS
        except (OSError, DamagedFile, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or error
            log.warning("packed weights cannot be kept in %s (%s): packing into memory", self._path, reason)
            return None, Outcome.FAILED

    def _file(self, key: str) -> Path:
        return self._path / f"{key}{SUFFIX}"

    def _find(self, key: str) -> Bytes | None:
        path = self._file(key)
        try:
            header, payload = map_checked(path, self._digest, self._num_threads)
            if header.key != key:
                raise DamagedFile(f"it is that of {header.key}")
        except FileNotFoundError:
            return None
        except (DamagedFile, OSError) as error:
            log.warning("%s is damaged (%s): packing again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):  # a folder that is only read keeps no order of use
            os.utime(path)
        return payload

    @contextmanager
    def _only_writer(self, key: str) -> Iterator[int]:
        """An empty partial file that nobody else writes. Raises OSError or TimeoutError."""
        path = self._path / f"{key}{PARTIAL}"
        until_s = self._clock() + LOCK_PATIENCE_S
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, path):
                    break
            except BlockingIOError:
                if self._clock() > until_s:
                    os.close(descriptor)
                    raise TimeoutError("another process has been packing them for too long") from None
                self._sleep(LOCK_POLL_S)
            os.close(descriptor)
        try:
            os.ftruncate(descriptor, 0)
            yield descriptor
        finally:
            with contextlib.suppress(OSError):
                if _is_at(descriptor, path):  # it has not become the file
                    path.unlink()
            os.close(descriptor)

    def _write(self, descriptor: int, header: PackedHeader, fill: Fill) -> None:
        # A full disk should say so now, and not after a minute of packing.
        os.posix_fallocate(descriptor, 0, header.file_bytes)
        write(descriptor, header, fill, self._digest, self._num_threads)
        os.replace(self._path / f"{header.key}{PARTIAL}", self._file(header.key))
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _make_room(self, num_bytes: int) -> None:
        prune(self._path, self._limit_bytes - num_bytes)


def entries(folder: Path) -> list[Entry]:
    """Last used first. Reads headers, checks no payload."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
            status = path.stat()
            try:
                found.append(Entry(path, status.st_size, status.st_mtime, read_header(path)))
            except DamagedFile as error:
                found.append(Entry(path, status.st_size, status.st_mtime, None, str(error)))
    return sorted(found, key=lambda entry: entry.used_s, reverse=True)


def prune(folder: Path, limit_bytes: int) -> list[Entry]:
    """Removes damaged files, those left half, then the least recently used ones until the rest fits. -> the removed

    Who has one mapped keeps it: the name goes, the pages stay.
    """
    left = 0
    removed = []
    for entry in entries(folder):
        left += entry.file_bytes
        if entry.header is None or left > limit_bytes:
            left -= entry.file_bytes
            entry.path.unlink(missing_ok=True)
            removed.append(entry)
    for path in folder.glob(f"*{PARTIAL}"):
        _remove_abandoned(path)
    return removed


def _remove_abandoned(path: Path) -> None:
    """Unless somebody writes it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """The open file is still the one of this name."""
    try:
        here = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (mine.st_dev, mine.st_ino)
