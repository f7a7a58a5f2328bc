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
from kernels.registry import FAMILIES
from tools.arm.userland import REPOSITORY, ready_userland
from tools.arm_report import kleidiai
from tools.arm_report.count import instructions_per_call
from tools.arm_report.hot_loop import DOT, FLOAT_DOT, HotLoop, hot_loop
from tools.arm_report.kept import Figures, keep, kept, place
from tools.arm_report.kleidiai import MARKS, Mark
from tools.arm_report.mca import COMMAND, Model, model
from tools.arm_report.text import document

BESIDE_KLEIDIAI = "Q4_0"
M = 64
SIDE = 512  # n = k, beside KleidiAI
COLUMNS, K = 64, 256  # elsewhere; n = k for a GEMV
# LLVM's cores that a rung serves; QEMU's core that counts.
CORES = ("neoverse-n1", "neoverse-n2", "neoverse-v1", "neoverse-v2")
MODELLED = {
    "neon": ("neoverse-n1",),
    "neon_dotprod": ("neoverse-n1", "neoverse-v1", "neoverse-v2"),
    "neon_i8mm": ("neoverse-n2", "neoverse-v1", "neoverse-v2"),
    "sve_i8mm": ("neoverse-v1",),
    "sme2": (),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One micro-kernel. `num_macs`: of the call. `mark`: KleidiAI's best of the same rung, for Q4_0 only."""

    source: str
    variant: MatmulVariant
    loop: HotLoop
    instructions: int
    models: dict[str, Model]
    mark: Mark | None
    num_macs: int

    @property
    def macs_per_instruction(self) -> float:
        return self.num_macs / self.instructions


def emulated_core(variant: MatmulVariant) -> str:
    if variant.rung.streaming_bits:
        return f"max,sve-default-vector-length=16,sme-default-vector-length={variant.rung.streaming_bits // 8}"
    return "neoverse-v1" if variant.rung.vector_bits == 256 else "neoverse-n2"


def measure(source: str, variant: MatmulVariant, emulator: Path) -> Row:
    """Figures that are kept on disk are not measured again."""
    name, ir = variant.name, variant.emit()
    is_float, is_beside = name.lhs == "f32", source == BESIDE_KLEIDIAI
    m = 1 if variant.is_gemv else M
    n, k = (SIDE, SIDE) if is_beside else (K if variant.is_gemv else COLUMNS, K)
    cores = CORES if is_float and variant.rung.name == "neon" else MODELLED[variant.rung.name]
    path = place(ir, (m, n, k), cores)
    figures = kept(path)
    if figures is None:
        assembly = compile_apart(ir, "aarch64", emit="assembly").decode()
        loop = hot_loop(assembly, name.m_step * name.n_step * name.k_step, FLOAT_DOT if is_float else DOT)
        instructions = instructions_per_call(ir, str(name), m, n, k, emulator, emulated_core(variant))
        figures = Figures(loop, instructions, {core: model(loop, core) for core in cores})
        keep(path, figures)
    key = (variant.rung.name, variant.rung.streaming_bits, variant.is_gemv)
    mark = MARKS.get(key) if is_beside else None
    return Row(source, variant, figures.loop, figures.instructions, figures.models, mark, m * n * k)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.arm_report", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=REPOSITORY / "docs" / "kernels.md")
    file = parser.parse_args().file
    if shutil.which(COMMAND) is None:
        sys.exit(f"arm-report: {COMMAND} is missing: apt-get install llvm-19")
    emulator = ready_userland().folder / "qemu-aarch64"
    variants = [
        (family.source, variant) for family in FAMILIES for variant in family.variants if variant.rung.arch == "aarch64"
    ]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda pair: measure(pair[0], pair[1], emulator), variants))
    beside = [row for row in rows if row.source == BESIDE_KLEIDIAI]
    shape = f"m = {M} (GEMV: 1), n = k = {SIDE} for {BESIDE_KLEIDIAI}; n = {COLUMNS} (GEMV: {K}), k = {K} elsewhere"
    file.write_text(document(beside, rows, shape, kleidiai.DATE))
    print(f"{len(rows)} micro-kernels: {file}")


if __name__ == "__main__":
    main()
