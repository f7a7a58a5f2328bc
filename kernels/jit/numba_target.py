"""What numba compiles for, and the folder of what it has compiled for that. Imports no compiler.

numba reads its target from the environment when it is imported, so it is set before. An operator's own NUMBA_CPU_NAME
and NUMBA_CPU_FEATURES win, so that an image can be made for other CPUs than the one at hand.
"""

import functools
import hashlib
import os
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from kernels.cpu.features import CPU, detect_cpu
from kernels.folder import cache_folder
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


@functools.cache
def set_target() -> Path:
    """Sets it, once, and returns the folder of what is compiled for it."""
    own_name, own_features = numba_target(detect_cpu())
    name = os.environ.setdefault("NUMBA_CPU_NAME", own_name)
    features = os.environ.setdefault("NUMBA_CPU_FEATURES", own_features)
    versions = (*(version(package) for package in ("numba", "llvmlite", "numpy")), platform.python_version())
    key = hashlib.sha256("\n".join([*versions, name, features]).encode()).hexdigest()[:16]
    return cache_folder() / "numba" / key
