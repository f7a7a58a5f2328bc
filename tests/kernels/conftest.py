"""Says at the end of a run which rungs this CPU has, and so which of the registry's micro-kernels were run at all."""

import pytest

from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from kernels.registry import matmul_variants


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cpu = detect_cpu()
    variants = [variant for _, variant in matmul_variants()]
    here = [variant for variant in variants if variant.rung.runs_on(cpu)]
    rungs = ", ".join(dict.fromkeys(rung.name for rung in rungs_for(cpu)))
    terminalreporter.write_line(
        f"micro-kernels: {len(here)} of {len(variants)} matmul variants run on this {cpu.arch} CPU, rungs {rungs}"
    )
