"""A payload to keep, and processes that keep it. `python -m tests.service.packed.payload FOLDER CALLS [kill|limit]`."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np

from kernels.checksum import Checksum
from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from service.packed.file import Bytes
from service.packed.folder import Outcome, PackedFolder
from service.packed.header import SEGMENT_BYTES, PackedHeader

NUM_BYTES = 2 * SEGMENT_BYTES + 3 * 4096
NUM_SEGMENTS = 3
PAYLOAD = np.random.default_rng(3).integers(0, 256, NUM_BYTES, np.uint8)


def header(key: str = "aa", num_bytes: int = NUM_BYTES) -> PackedHeader:
    return PackedHeader(key, "a model", "a cpu", ("qsi4c32p16x4",), num_bytes, ())


def digest() -> Checksum:
    return Checksum(KernelLibrary(), rungs_for(detect_cpu(), None)[0])


def fill(first: int, into: Bytes) -> None:
    into[:] = PAYLOAD[first : first + into.size]


def folder_at(path: Path, limit_bytes: int = 1 << 30) -> PackedFolder:
    return PackedFolder(path, limit_bytes, digest(), num_threads=2)


def main() -> None:
    folder, calls, *fault = sys.argv[1:]

    def counted(first: int, into: Bytes) -> None:
        with Path(calls).open("ab") as file:
            file.write(b"x")
        if fault == ["kill"] and first >= SEGMENT_BYTES:
            os.kill(os.getpid(), signal.SIGKILL)
        fill(first, into)

    if fault == ["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_BYTES, SEGMENT_BYTES))
    payload, outcome = folder_at(Path(folder)).obtain(header(), counted)
    right = payload is not None and bool((payload == PAYLOAD).all())
    print(outcome.value, "right" if right else "nothing" if payload is None else "wrong")
    assert outcome in Outcome


if __name__ == "__main__":
    main()
