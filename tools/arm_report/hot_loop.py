"""The hot loop of a micro-kernel's assembly: its lines, counts, vector stores. Models nothing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

DOT = r"\t(?:smmla|sdot|smopa|smull2?|smlal2?)\t(?!v\d+\.4s, v\d+\.[48]h)"  # of bytes, not of sums and minima
FLOAT_DOT = r"\t(fmopa|fmla|fmad)\t"


@dataclass(frozen=True, slots=True)
class HotLoop:
    """`lines`: instructions of one turn, without labels, comments and directives. `num_macs`: products in it."""

    lines: tuple[str, ...]
    num_macs: int

    @property
    def num_instructions(self) -> int:
        return len(self.lines)

    @property
    def macs_per_instruction(self) -> float:
        return self.num_macs / self.num_instructions

    @property
    def num_spills(self) -> int:
        """Vectors that are stored: a hot loop has no other reason to store one."""
        return sum(bool(re.match(r"\tst(r|p|ur|1\w)\t\{? ?[qz]", line)) for line in self.lines)

    @property
    def mix(self) -> str:
        """The most frequent instructions, most frequent first."""
        return ", ".join(f"{count} {name}" for name, count in Counter(self._names()).most_common(6))

    def _names(self) -> list[str]:
        return [line.split()[0] for line in self.lines]


def hot_loop(assembly: str, num_macs: int, dot: str = DOT) -> HotLoop:
    """The block with most dot products, up to its branch back to itself."""
    blocks = re.split(r"(?m)^(?=\.LBB)", assembly)
    block = max(blocks, key=lambda text: len(re.findall(dot, text)))
    label = block.split(":")[0]
    lines = []
    for line in block.splitlines():
        if line.startswith("\t") and not line.startswith(("\t.", "\t//")):
            lines.append(line)
            if re.match(rf"\t(b\.\w+|cbn?z|tbn?z)\t.*{re.escape(label)}$", line):
                break
    return HotLoop(tuple(lines), num_macs)
