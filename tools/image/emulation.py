"""Lets the kernel start aarch64 programs through QEMU, inside a container too, while a block runs. Needs root.

The variable QEMU_CPU then names the core that a program runs on. Knows no image.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.arm.debian import machine_arch
from tools.arm.userland import ready_userland

FOLDER = Path("/proc/sys/fs/binfmt_misc")
NAME = "qemu-aarch64"
# The first bytes of an ELF file for aarch64, and which of their bits count (Linux's binfmt_misc, QEMU's own script).
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
FLAGS = "POF"  # argv[0] kept, the file handed over open, the interpreter opened now: a container has none


class EmulationError(Exception):
    """Programs of another architecture cannot be started here; says what is missing."""


@contextmanager
def arm_programs() -> Iterator[None]:
    """What the machine registered itself is left as it is. Raises EmulationError."""
    entry = FOLDER / NAME
    if machine_arch() == "arm64" or _is_registered(entry):
        yield
        return
    try:
        if not (FOLDER / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(FOLDER)], check=True, capture_output=True)
        (FOLDER / "register").write_text(registration(ready_userland().folder / "qemu-aarch64"))
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmulationError(f"cannot register {NAME} with binfmt_misc, which takes root: {error}") from error
    try:
        yield
    finally:
        entry.write_text("-1")


def registration(interpreter: Path) -> str:
    return f":{NAME}:M::{MAGIC}:{MASK}:{interpreter}:{FLAGS}"


def _is_registered(entry: Path) -> bool:
    return entry.exists() and entry.read_text().startswith("enabled")
