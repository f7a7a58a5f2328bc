"""What this machine's CPU can do and how much of it this process may use. Knows no kernel."""

from kernels.cpu.cores import usable_cores
from kernels.cpu.features import CPU, detect_cpu

__all__ = ["CPU", "detect_cpu", "usable_cores"]
