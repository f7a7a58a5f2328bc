"""Writes a file of packed weights, and maps one that is whole. Knows no folder and no matrix.

Reading checks everything: each byte of the file is under a digest, or is a zero that is compared. So a file that was
cut, grown, or changed by a single bit is never used.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.packed.header import (
    PAYLOAD_ALIGNMENT,
    PAYLOAD_OFFSET,
    SEGMENT_BYTES,
    DamagedFile,
    PackedHeader,
    decode,
    encode,
    num_segments,
)

CHECK_BATCH = 16
"""Segments that a thread checks at a time: one by one, all take a fifth longer."""

Bytes = npt.NDArray[np.uint8]
Digest = Callable[[Bytes], bytes]
"""kernels.checksum.Checksum"""
Fill = Callable[[int, Bytes], None]
"""Writes the payload's bytes from an offset on into an array of as many. Several threads call it at once."""


def fill_in_memory(into: Bytes, fill: Fill, num_threads: int) -> None:
    """The payload, segment by segment."""

    def make(index: int) -> None:
        first = index * SEGMENT_BYTES
        fill(first, into[first : first + SEGMENT_BYTES])

    with ThreadPoolExecutor(num_threads, "pack") as threads:
        for _ in threads.map(make, range(num_segments(into.size))):
            pass


def write(descriptor: int, header: PackedHeader, fill: Fill, digest: Digest, num_threads: int) -> PackedHeader:
    """`header` has no digests yet. On disk when it returns; the header is written last. Raises OSError."""
    assert header.payload_bytes % PAYLOAD_ALIGNMENT == 0, header.payload_bytes
    buffers: list[Bytes] = [np.empty(SEGMENT_BYTES, np.uint8) for _ in range(num_threads)]

    def make(index: int) -> str:
        first = index * SEGMENT_BYTES
        buffer = buffers.pop()
        segment = buffer[: min(SEGMENT_BYTES, header.payload_bytes - first)]
        fill(first, segment)
        made = digest(segment).hex()
        _write_all(descriptor, segment, PAYLOAD_OFFSET + first)
        buffers.append(buffer)
        return made

    with ThreadPoolExecutor(num_threads, "pack") as threads:
        digests = tuple(threads.map(make, range(num_segments(header.payload_bytes))))
    whole = PackedHeader(header.key, header.model, header.cpu, header.layouts, header.payload_bytes, digests)
    os.fsync(descriptor)
    _write_all(descriptor, np.frombuffer(encode(whole), np.uint8), 0)
    os.fsync(descriptor)
    return whole


def _write_all(descriptor: int, data: Bytes, offset: int) -> None:
    """One call for a whole segment: then it becomes one large folio of the page cache."""
    done = 0
    while done < data.size:
        done += os.pwrite(descriptor, data[done:].data, offset + done)


def read_header(path: Path) -> PackedHeader:
    """Raises DamagedFile or OSError."""
    with path.open("rb") as file:
        return decode(file.read(PAYLOAD_OFFSET), os.fstat(file.fileno()).st_size)


def map_checked(path: Path, digest: Digest, num_threads: int) -> tuple[PackedHeader, Bytes]:
    """The payload, read-only and shared with every process that maps it. Raises DamagedFile or OSError."""
    with path.open("rb") as file:
        header = decode(file.read(PAYLOAD_OFFSET), os.fstat(file.fileno()).st_size)
        mapping = mmap.mmap(
            file.fileno(), header.payload_bytes, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=PAYLOAD_OFFSET
        )
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # advice only
            mapping.madvise(mmap.MADV_HUGEPAGE)
    payload = np.frombuffer(mapping, np.uint8)
    check(payload, header, digest, num_threads)
    return header, payload


def check(payload: Bytes, header: PackedHeader, digest: Digest, num_threads: int) -> None:
    """Raises DamagedFile at the first segment that is not what was written."""

    def first_damaged(batch: range) -> int | None:
        for index in batch:
            segment = payload[index * SEGMENT_BYTES : (index + 1) * SEGMENT_BYTES]
            if digest(segment).hex() != header.digests[index]:
                return index
        return None

    indices = range(len(header.digests))
    batches = [indices[start : start + CHECK_BATCH] for start in indices[::CHECK_BATCH]]
    with ThreadPoolExecutor(num_threads, "check") as threads:
        for damaged in threads.map(first_damaged, batches):
            if damaged is not None:
                first = PAYLOAD_OFFSET + damaged * SEGMENT_BYTES
                raise DamagedFile(f"bytes {first} to {first + SEGMENT_BYTES} are not what was written")
