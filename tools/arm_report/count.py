"""Counts the instructions that one call of a micro-kernel executes, on an emulated core. Knows no kernel.

The kernel, a caller that only sets its arguments, and room for the operands become a static program without a library;
QEMU logs each instruction of the kernel that it executes.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kernels.folder import cache_folder
from kernels.jit.object_cache import ObjectCache
from tools.arm_report.elf import DATA, link

OPERAND_BYTES = 1 << 20
MOVZ, MOVK, FMOV, SVC = 0xD2800000, 0xF2800000, 0x1E270000, 0xD4000001
X0, X8, EXIT = 0, 8, 93
MINUS_INFINITY, INFINITY = 0xFF800000, 0x7F800000


def instructions_per_call(ir: str, name: str, m: int, n: int, k: int, emulator: Path, core: str) -> int:
    """core: QEMU's name, with vector lengths where they matter."""
    operands = [DATA + i * OPERAND_BYTES for i in range(3)]
    before, after = list(_arguments([m, n, k, *operands, 4 * n])), [*_set(X0, 0), *_set(X8, EXIT), SVC]
    made = ObjectCache(cache_folder() / "objects", "aarch64").object(ir)
    program = link(made, name, before, after, 3 * OPERAND_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call"
        path.write_bytes(program.image)
        path.chmod(0o755)
        log = ["-one-insn-per-tb", "-d", "exec,nochain", "-dfilter", f"{program.start:#x}..{program.end - 1:#x}"]
        command = [str(emulator), *log, str(path)]
        environment = {**os.environ, "QEMU_CPU": core}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
            assert running.stderr
            count = sum(line.startswith(b"Trace") for line in running.stderr)
    assert running.returncode == 0, f"{name} ended with status {running.returncode} on {core}"
    return count


def _arguments(values: list[int]) -> Iterator[int]:
    """x0, x1 ... and no clamp in s0 and s1."""
    for register, value in enumerate((MINUS_INFINITY, INFINITY)):
        yield from _set(X8, value)
        yield FMOV | X8 << 5 | register
    for register, value in enumerate(values):
        yield from _set(register, value)


def _set(register: int, value: int) -> Iterator[int]:
    """A register's lower 32 bits; the upper ones become zero."""
    yield MOVZ | (value & 0xFFFF) << 5 | register
    yield MOVK | 1 << 21 | value >> 16 << 5 | register
