"""llvm-mca's view of a hot loop on a core: cycles of a turn, and the bound by its vector pipes. Knows no kernel.

The model assumes L1 hits and a perfect branch predictor. Version 19 is pinned, for others charge loads differently.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from tools.arm_report.hot_loop import HotLoop

COMMAND = "llvm-mca-19"
NUM_TURNS = 100
VECTOR_PIPE = re.compile(r"[NV]\dUnitV\d")


@dataclass(frozen=True, slots=True)
class Model:
    """`vector_cycles`: what the vector pipes need for a turn when all of them are always busy."""

    cycles: float
    vector_cycles: float


def model(loop: HotLoop, core: str) -> Model:
    """core: LLVM's name, such as neoverse-v1."""
    command = [COMMAND, "-mtriple=aarch64", f"-mcpu={core}", f"-iterations={NUM_TURNS}", "-instruction-info=false"]
    text = "\n".join(loop.lines) + "\n"
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=True)
    found = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return Model(int(found[1]) / NUM_TURNS, _vector_cycles(done.stdout))


def _vector_cycles(output: str) -> float:
    """Mean pressure of a turn on the vector pipes that it uses (SVE of 256 bits has two of a V1's four)."""
    resources = re.findall(r"^\[([\d.]+)\]\s+- (\S+)", output, re.MULTILINE)
    pipes = {index for index, name in resources if VECTOR_PIPE.match(name)}
    table = output[output.index("Resource pressure per iteration:") :].splitlines()
    indices = re.findall(r"\[([\d.]+)\]", table[1])
    pressures = [0.0 if cell == "-" else float(cell) for cell in table[2].split()]
    busy = [p for index, p in zip(indices, pressures, strict=True) if index in pipes and p > 0]
    return sum(busy) / len(busy)
