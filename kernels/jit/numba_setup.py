"""The one door to numba: sets its CPU features and cache folder, then imports it. Compiles nothing itself.

numba reads its settings when it is imported, so this module must be the one that imports it first; whoever needs numba
imports it from here or, better, uses the decorators of kernels.jit.function.
"""

import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import llvmlite
import numpy as np

from kernels.cpu.features import CPU, detect_cpu
from kernels.jit.folder import cache_folder
from kernels.jit.levels import level_of, level_target

# What numba compiles needs no more of an Arm CPU, so that one set of compiled functions serves every core (an image can
# ship it warm). SVE must stay out: the auto-vectoriser drops lanes of vectors longer than 128 bits (llvm/llvm-project
# 204939). Matrix products and attention, where the rest matters, do not pass through numba.
ARM_FEATURES: Final = ("asimd", "lse")


def numba_target(cpu: CPU) -> tuple[str, str]:
    """The values for NUMBA_CPU_NAME and NUMBA_CPU_FEATURES."""
    if cpu.arch == "x86_64":
        # The same on x86, by the levels of its ABI: a CPU gets the best one that it has, an older one what it is.
        level = level_of(cpu.features)
        return (cpu.name, cpu.llvm_features()) if level is None else level_target(level)
    return "generic", replace(cpu, features=cpu.features.intersection(ARM_FEATURES)).llvm_features()


def _configure(modules: Iterable[str]) -> Path:
    """Returns the folder of compiled functions. An operator's own NUMBA_CPU_* win, so that images can be warmed."""
    assert "numba" not in modules, "numba was imported before kernels.jit.numba_setup could set its CPU features"
    cpu = detect_cpu()
    own_name, own_features = numba_target(cpu)
    name = os.environ.setdefault("NUMBA_CPU_NAME", own_name)
    features = os.environ.setdefault("NUMBA_CPU_FEATURES", own_features)
    versions = (version("numba"), llvmlite.__version__, np.__version__, platform.python_version())
    key = hashlib.sha256("\n".join([*versions, name, features]).encode()).hexdigest()[:16]
    folder = cache_folder() / "numba" / key
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
    return folder


FOLDER: Final = _configure(sys.modules)

import numba as _numba  # noqa: E402
from numba.core import event as _event  # noqa: E402

numba: Final[Any] = _numba  # its own annotations are partial


class _CompileCounter(_event.Listener):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0
        self.num_found = 0

    def add(self) -> None:
        with self._lock:
            self.count += 1

    def add_found(self) -> None:
        with self._lock:
            self.num_found += 1

    def on_start(self, event: object) -> None:
        self.add()

    def on_end(self, event: object) -> None:
        pass


COUNTER: Final = _CompileCounter()
_register: Any = _event.register
_register("numba:compile", COUNTER)


def compile_events() -> int:
    """How many functions numba has compiled in this process. Loading one from the cache is not compiling."""
    return COUNTER.count


def cache_hits() -> int:
    """How many functions of ours were loaded from the cache instead."""
    return COUNTER.num_found
