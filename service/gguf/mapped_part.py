"""One file of a model in memory, whose pages can be given back. Knows no tensor."""

import mmap
from dataclasses import dataclass

FOLIO_BYTES = 2 << 20
"""Linux maps a page of a file with all of its folio, which is a huge page at the most."""


@dataclass(frozen=True, slots=True)
class MappedPart:
    """`header_bytes`: up to the end of the tensor table. `modified_ns`: Unix time."""

    mapping: mmap.mmap
    modified_ns: int
    header_bytes: int

    @property
    def num_bytes(self) -> int:
        return len(self.mapping)

    def header(self) -> memoryview:
        return memoryview(self.mapping)[: self.header_bytes]

    def forget(self, start: int, stop: int) -> None:
        """These bytes, and those that were mapped with them, need not stay resident. Reading them still works."""
        if hasattr(mmap, "MADV_DONTNEED"):
            start, stop = start // FOLIO_BYTES * FOLIO_BYTES, -(-stop // FOLIO_BYTES) * FOLIO_BYTES
            self.mapping.madvise(mmap.MADV_DONTNEED, start, min(stop, self.num_bytes) - start)
