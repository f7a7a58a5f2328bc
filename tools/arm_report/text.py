"""The report as Markdown. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from kernels.families.variant import MatmulVariant
from tools.arm_report.hot_loop import HotLoop
from tools.arm_report.kleidiai import Mark
from tools.arm_report.mca import Model
from tools.arm_report.survey import survey

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
  fma. Scales of a whole channel (QC8, Q4CX) leave nothing but loads and products in the loop.
- Sums start at the bits of a large float, so no smmla or sdot block needs `scvtf`, which uses a vector pipe twice on
  all four cores. The starts are loaded, for loads have pipes of their own.
- The GEMM tiles with smmla and sdot stand at 99 % of their bound or above: what is left is fewer vector instructions.
- NEON's smmla tile of 16 rows models 10 % above that of 8 for Q4_0, 3 % for Q8_0: more rows share what is unpacked.
  It fills the register file, and no machine of ours can tell: it is a candidate, which autotune measures where it runs.
- SVE's GEMM misses 1.25 x KleidiAI's 18.4 MAC an instruction, 23. A tile of p pairs of rows x c vectors of columns
  needs, for each block: 4pc smmla of 64 MAC; for each accumulator a start, an fadd, an fmul and an fmla, 4pc; 4p loads
  of LHS operands, repeated in both halves of a vector, and p of scales; 2c loads of nibbles and 4c to unpack them;
  2 + c for the columns' scales; 5 to loop. It holds pc accumulators, 4c operands, c scales, c sums and 2 vectors in
  flight in 32 registers:

  | p x c | registers | instructions | MAC/instruction |
  |---|--:|--:|--:|
  | 4 x 2 (until November 2026) | 22 | 105 | 19.5 |
  | 8 x 2 (this) | 30 | 189 | 21.7 |
  | 9 x 2 | 32 | 210 | 21.9 |
  | 4 x 3 | 32 | 144 | 21.3 |
  | 22 x 1 | 30 | 300 | 18.8 |
  | 8 x 3 | 44 | 270 | 22.8 |

  So the formula and the register file end at 21.9, 1.19 x KleidiAI's, before stores and tails.
- The planes (Q5, IQ4_NL, K-quants) and floats have no SVE of 256 bits: a Neoverse V1 has two pipes for it where NEON
  has four, so the bound is NEON's, and their GEMM unpacks to scratch, where instructions saved weigh less.
- Planes multiply from scratch: their loops hold products only, and the whole call tells what unpacking adds. Their
  GEMVs unpack in the loop; bits of several planes cost two to three operations an operand. On SME2 only the nibbles
  of Q4_0, Q4_1, Q4CX and 8DA4W lie in the order that a look-up (luti4) takes; planes keep one order on all rungs.
- The K-quants' GEMM loops hold products of bytes and, a block, multiply-adds of integers with its byte scales; minima
  and floats come once in 256 of K and show in the whole call alone. On SME2 those are a row at a time: a call takes
  more instructions than with floats a block (Q4_K of 512 bits 86 MAC an instruction for 123), while its loop takes
  fewer (207); which is faster no machine of ours can tell.
- bfmopa and bfdot are not used for BF16: they round pairs of products once, which would give BF16 bits of its own on
  each rung, and want the LHS rounded to bf16.
- Vectors stored in hot loops are unpacked operands and scales that wait for their turn, on SME2 those of the second
  vector of columns. No accumulator is among them: tests/kernels/families/test_assembly.py.
- GEMVs of F16 and BF16 on SME2 convert four vectors for each fma of four, and those of the planes unpack as many for
  each sdot: there the ZA instructions are few beside the others.
"""


ABOUT_SURVEY = """\
Columns are rungs, SME2 by its streaming vector length, or cores with the best rung there of NEON or SVE. An empty cell:
the family has no micro-kernel there; the rung below serves it. `gemmule kernels asm NAME --cpu neoverse-v2` shows a
loop.
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


def document(beside: Sequence[Row], rows: Sequence[Row], shape: str, date: str) -> str:
    """beside: what stands beside KleidiAI's figures, in detail; rows: everything, in short."""
    parts = [HEAD.format(shape=shape, date=date), FINDINGS, "\n## Q4_0, beside KleidiAI\n"]
    for title, wanted in (("GEMM", False), ("GEMV", True)):
        here = [row for row in beside if row.variant.is_gemv == wanted]
        parts += [f"\n### {title}: instructions\n\n", *_instructions(here)]
        parts += [f"\n### {title}: modelled MAC/cycle\n\n", *_cycles(here)]
    parts += ["\n### Instruction mix of the hot loops\n\n"]
    parts += [f"- `{row.variant.name}`: {row.loop.mix}\n" for row in beside]
    parts += ["\n## All families\n\n", ABOUT_SURVEY, *survey(rows)]
    return "".join(parts)


def _instructions(rows: Iterable[Row]) -> Iterable[str]:
    yield (
        "| micro-kernel | instructions a call | MAC/instruction | hot loop | MAC/instruction | spills "
        "| KleidiAI's MAC/instruction | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    for row in rows:
        cells = [
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
    yield "| tile | rung | core | MAC/cycle | bound | share | KleidiAI | ratio |\n"
    yield "|---|---|---|--:|--:|--:|--:|--:|\n"
    for row in rows:
        for core, found in row.models.items():
            speed, bound = row.loop.num_macs / found.cycles, row.loop.num_macs / found.vector_cycles
            theirs = row.mark.macs_per_cycle.get(core) if row.mark else None
            cells = [
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
