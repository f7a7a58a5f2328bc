"""The registry's micro-kernels as lines of text, with what this CPU can run. Knows no model and makes no choice."""

from collections.abc import Iterator

from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from kernels.registry import matmul_variants

COLUMNS = "{:<8} {:<5} {:<13} {:<5} {}"


def kernel_lines(contains: str = "") -> Iterator[str]:
    """A head, then one line a micro-kernel whose name has `contains` in it."""
    usable = rungs_for(detect_cpu())
    yield COLUMNS.format("WEIGHTS", "FOR", "RUNG", "HERE", "MICRO-KERNEL")
    for family, variant in matmul_variants():
        name = str(variant.name)
        if contains in name:
            use = "GEMV" if variant.is_gemv else "GEMM"
            here = "yes" if variant.rung in usable else "no"
            yield COLUMNS.format(family.source, use, variant.rung.name, here, name)
