"""What tells one model file from another, cheaply enough for every start. Knows no packing.

Of each part: size, time of last change, the whole header (metadata and tensor table), of each tensor its first bytes
and some from its middle. Files that differ are told apart because one that is edited in place gets another time, and
one that is put in its place, its time restored or fixed as in an image or a wheel, holds another model, whose tensors
differ nearly everywhere. Who changes a few bytes of a tensor and sets the time back is not found out;
`gemmule cache prune --all` is for them. To read the whole file would cost a second start what it is to be spared.
"""

from __future__ import annotations

import hashlib

from service.gguf.reader import GGUFFile

SAMPLE_BYTES = 1024


def source_digest(file: GGUFFile) -> str:
    total = hashlib.blake2b(digest_size=16)
    for part in file.parts:
        total.update(f"{part.num_bytes} {part.modified_ns} {part.header_bytes}\n".encode())
        total.update(part.header())
    for name in file.tensors:
        raw = file.data(name).reshape(-1)
        middle = raw.size // 2
        total.update(raw[:SAMPLE_BYTES].tobytes())
        total.update(raw[middle : middle + SAMPLE_BYTES].tobytes())
        file.forget_rows(file.tensors[name], 0, file.tensors[name].num_rows)
    return total.hexdigest()
