"""Objects on disk, named by the hash of what they were made from. LLVM is loaded only for what is not there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from kernels.folder import keep_file
from kernels.jit.elf import ObjectError, ObjectFile, read_object


@dataclass
class ObjectCache:
    """A folder that cannot be written is only read; an object that is damaged is made again."""

    folder: Path
    arch: str
    num_compiled: int = 0
    num_found: int = 0

    def object(self, ir: str) -> ObjectFile:
        """Raises CompileError."""
        path = self.folder / f"{self._key(ir)}.o"
        found = kept_object(path)
        if found is not None:
            self.num_found += 1
            return found
        from kernels.jit.build import compile_here

        made = compile_here(ir, self.arch)
        self.num_compiled += 1
        keep_file(path, made)
        return read_object(made)

    def _key(self, ir: str) -> str:
        return hashlib.sha256(f"{version('llvmlite')} {self.arch}\n{ir}".encode()).hexdigest()[:32]


def kept_object(path: Path) -> ObjectFile | None:
    """What is there, can be read and is whole."""
    try:
        return read_object(path.read_bytes())
    except (OSError, ObjectError):
        return None
