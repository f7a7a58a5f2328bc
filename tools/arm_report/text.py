"""The report as Markdown. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from kernels.families.variant import MatmulVariant
from tools.arm_report.hot_loop import HotLoop
from tools.arm_report.kleidiai import Mark
from tools.arm_report.mca import Model

HEAD = """\
# Arm micro-kernels: instructions and modelled speed

Made by `make arm-report`; no Arm machine is needed. What is counted and what is modelled:

- *instructions a call*: executed between the kernel's first instruction and its return, counted by QEMU;
  {shape}.
- *hot loop*: instructions and vector stores (spills) of one turn, from the assembly; MAC/instruction of the turn alone.
- *MAC/cycle*: the turn by llvm-mca 19, which assumes L1 hits. *bound*: MAC/cycle if the vector pipes that the turn uses
  were never idle, from the pipe uses of its instructions by the same tables. SME2 has no model there.
- *KleidiAI*: its best micro-kernel of the same rung for `f32_qsi8d32p_qsi4c32p`, n = k = 512, same tools, {date}.
"""

FINDINGS = """
## What the figures say

- A block of 32 ends in f32: a scale product rounded once, then one fma. An outer product of the scales into a ZA tile
  makes all the products of an SME2 tile with one instruction; elsewhere each accumulator vector costs an fmul and an
  fma.
- Sums start at the bits of a large float, so no smmla or sdot block needs `scvtf`, which uses a vector pipe twice on
  all four cores. The starts are loaded, for loads have pipes of their own.
- The GEMM tiles with smmla and sdot stand at 99 % of their bound or above: what is left is fewer vector instructions.
- SVE at 256 bits has two pipes on a Neoverse V1 where NEON has four, so its bound is NEON's; it saves instructions.
  Of 104 in the hot loop 32 are smmla of 64 MAC. LHS operands must be repeated in both halves (16 `ld1rqb`), sums be
  started (8), weights be loaded and unpacked (12), and each accumulator costs three instructions a block (24): 92
  without scales and loop control, 22 MAC an instruction. 1.25 x KleidiAI's 18.4 would be 23.
- The GEMVs of SVE and SME2 stand at 1.20 and 1.22 x KleidiAI's MAC an instruction. On SME2 a turn of 51 instructions
  holds 16 look-ups, 8 dots and 12 for four vectors of scales; a second block a turn would save about two more.
- Vectors stored in SME2's hot loops are operands kept for the second vector of columns; sums and accumulators stay in
  ZA.
"""


class Row(Protocol):
    """What the tables show of a micro-kernel."""

    @property
    def source(self) -> str: ...
    @property
    def variant(self) -> MatmulVariant: ...
    @property
    def loop(self) -> HotLoop: ...
    @property
    def instructions(self) -> int: ...
    @property
    def models(self) -> dict[str, Model]: ...
    @property
    def mark(self) -> Mark | None: ...
    @property
    def macs_per_instruction(self) -> float: ...


def document(rows: Sequence[Row], shape: str, date: str) -> str:
    parts = [HEAD.format(shape=shape, date=date)]
    for title, wanted in (("GEMM", False), ("GEMV", True)):
        here = [row for row in rows if row.variant.is_gemv == wanted]
        parts += [f"\n## {title}: instructions\n\n", *_instructions(here)]
        parts += [f"\n## {title}: modelled MAC/cycle\n\n", *_cycles(here)]
    parts += ["\n## Instruction mix of the hot loops, Q4_0\n\n"]
    parts += [f"- `{row.variant.name}`: {row.loop.mix}\n" for row in rows if row.source == "Q4_0"]
    return "".join([*parts, FINDINGS])


def _instructions(rows: Iterable[Row]) -> Iterable[str]:
    yield (
        "| weights | micro-kernel | instructions a call | MAC/instruction | hot loop | MAC/instruction | spills "
        "| KleidiAI's MAC/instruction | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    for row in rows:
        cells = [
            row.source,
            f"`{row.variant.name}`",
            f"{row.instructions:,}",
            f"{row.macs_per_instruction:.1f}",
            str(row.loop.num_instructions),
            f"{row.loop.macs_per_instruction:.1f}",
            str(row.loop.num_spills),
            f"{row.mark.macs_per_instruction:.1f} ({row.mark.kernel})" if row.mark else "",
            f"{row.macs_per_instruction / row.mark.macs_per_instruction:.2f}" if row.mark else "",
        ]
        yield f"| {' | '.join(cells)} |\n"


def _cycles(rows: Iterable[Row]) -> Iterable[str]:
    yield "| weights | tile | rung | core | MAC/cycle | bound | share | KleidiAI | ratio |\n"
    yield "|---|---|---|---|--:|--:|--:|--:|--:|\n"
    for row in rows:
        for core, found in row.models.items():
            speed, bound = row.loop.num_macs / found.cycles, row.loop.num_macs / found.vector_cycles
            theirs = row.mark.macs_per_cycle.get(core) if row.mark else None
            cells = [
                row.source,
                f"{row.variant.name.m_step}x{row.variant.name.n_step} {row.variant.name.tech}",
                row.variant.rung.name,
                core,
                f"{speed:.1f}",
                f"{bound:.1f}",
                f"{speed / bound:.0%}",
                f"{theirs:.1f}" if theirs else "",
                f"{speed / theirs:.2f}" if theirs else "",
            ]
            yield f"| {' | '.join(cells)} |\n"
