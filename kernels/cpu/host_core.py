"""LLVM's name for this machine's core and, on x86, its features. LLVM is asked once for each kind of core.

To load LLVM takes a start 40 ms and 20 MB, and a start whose code is all compiled already needs nothing else of it.
The answer is kept in the cache folder, under a digest of what Linux says of the core; where it cannot be kept, LLVM is
asked at every start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from kernels.folder import cache_folder, keep_file

CPUINFO: Final = Path("/proc/cpuinfo")
FOLDER_NAME: Final = "cores"
_DIFFERING: Final = ("processor", "cpu MHz", "bogomips", "apicid", "initial apicid", "core id", "physical id")


@dataclass(frozen=True, slots=True)
class HostCore:
    """`features`: of an x86 core, which CPUID and what the system saves have both; LLVM finds none on Arm."""

    name: str
    features: frozenset[str]

    def text(self) -> str:
        return f"{self.name}\n{' '.join(sorted(self.features))}\n"


def host_core(folder: Path | None = None, cpuinfo: Path = CPUINFO) -> HostCore:
    """`folder`: where answers are kept, otherwise in the cache folder."""
    path = (folder or cache_folder() / FOLDER_NAME) / _digest(cpuinfo)
    kept = _kept(path)
    if kept is not None:
        return kept
    core = _ask_llvm()
    keep_file(path, core.text().encode())
    return core


def _ask_llvm() -> HostCore:
    import llvmlite.binding

    llvm: Any = llvmlite.binding
    name = str(llvm.get_host_cpu_name()) or "generic"
    try:
        found = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM knows them of some architectures only
        found = {}
    return HostCore(name, frozenset(feature for feature, present in found.items() if present))


def _digest(cpuinfo: Path) -> str:
    """Of the first core's lines, without what differs between cores of a kind, and of LLVM."""
    try:
        first_core = cpuinfo.read_text().partition("\n\n")[0]
    except OSError:
        first_core = ""
    lines = [line for line in first_core.splitlines() if line.partition("\t")[0] not in _DIFFERING]
    return hashlib.sha256("\n".join([version("llvmlite"), *lines]).encode()).hexdigest()[:16]


def _kept(path: Path) -> HostCore | None:
    try:
        name, features, end = path.read_text().split("\n")
    except (OSError, ValueError):  # not there, or not what was written
        return None
    return HostCore(name, frozenset(features.split())) if name and not end else None
