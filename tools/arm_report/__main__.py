"""Writes docs/kernels.md: what the Arm micro-kernels cost, by static count, emulated count and model, beside KleidiAI.

`python -m tools.arm_report [FILE]`; needs llvm-mca-19 and the Arm userland's emulator, no Arm machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kernels.families.variant import MatmulVariant
from kernels.jit.build import compile_apart
from kernels.registry import family_for
from tools.arm.userland import REPOSITORY, ready_userland
from tools.arm_report import kleidiai
from tools.arm_report.count import instructions_per_call
from tools.arm_report.hot_loop import HotLoop, hot_loop
from tools.arm_report.kleidiai import MARKS, Mark
from tools.arm_report.mca import COMMAND, Model, model
from tools.arm_report.text import document

SOURCES = ("Q4_0", "Q4_1", "Q8_0", "gemmule.Q4CX", "gemmule.8DA4W_G64", "gemmule.QC8")
M, N, K = 64, 512, 512
# LLVM's cores that a rung serves; QEMU's core that counts.
MODELLED = {
    "neon": ("neoverse-n1",),
    "neon_dotprod": ("neoverse-n1", "neoverse-v1", "neoverse-v2"),
    "neon_i8mm": ("neoverse-n2", "neoverse-v1", "neoverse-v2"),
    "sve_i8mm": ("neoverse-v1",),
    "sme2": (),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One micro-kernel. `mark`: KleidiAI's best of the same rung, for Q4_0 only."""

    source: str
    variant: MatmulVariant
    loop: HotLoop
    instructions: int
    models: dict[str, Model]
    mark: Mark | None

    @property
    def macs_per_instruction(self) -> float:
        return (1 if self.variant.is_gemv else M) * N * K / self.instructions


def emulated_core(variant: MatmulVariant) -> str:
    if variant.rung.streaming_bits:
        return f"max,sve-default-vector-length=16,sme-default-vector-length={variant.rung.streaming_bits // 8}"
    return "neoverse-v1" if variant.rung.vector_bits == 256 else "neoverse-n2"


def measure(source: str, variant: MatmulVariant, emulator: Path) -> Row:
    name, ir = variant.name, variant.emit()
    assembly = compile_apart(ir, "aarch64", emit="assembly").decode()
    loop = hot_loop(assembly, name.m_step * name.n_step * name.k_step)
    m = 1 if variant.is_gemv else M
    instructions = instructions_per_call(ir, str(name), m, N, K, emulator, emulated_core(variant))
    models = {core: model(loop, core) for core in MODELLED[variant.rung.name]}
    key = (variant.rung.name, variant.rung.streaming_bits, variant.is_gemv)
    return Row(source, variant, loop, instructions, models, MARKS.get(key) if source == "Q4_0" else None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.arm_report", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=REPOSITORY / "docs" / "kernels.md")
    file = parser.parse_args().file
    if shutil.which(COMMAND) is None:
        sys.exit(f"arm-report: {COMMAND} is missing: apt-get install llvm-19")
    emulator = ready_userland().folder / "qemu-aarch64"
    variants = [
        (source, variant)
        for source in SOURCES
        for variant in family_for(source).variants
        if variant.rung.arch == "aarch64"
    ]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda pair: measure(pair[0], pair[1], emulator), variants))
    file.write_text(document(rows, f"m = {M} (GEMV: 1), n = {N}, k = {K}", kleidiai.DATE))
    print(f"{len(rows)} micro-kernels: {file}")


if __name__ == "__main__":
    main()
