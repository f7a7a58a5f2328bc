"""The Arm report: its hot loops, its linker, and the marks that hold without an emulator."""

from __future__ import annotations

import struct

import pytest

from kernels.families.variant import MatmulVariant
from kernels.jit.build import compile_apart
from kernels.jit.elf import read_object
from kernels.registry import family_for
from tools.arm_report.elf import PAGE, TEXT, link
from tools.arm_report.hot_loop import HotLoop, hot_loop
from tools.arm_report.kleidiai import MARKS

LOOP = """\
f:
\tmov\tx8, #1
.LBB0_1:
\t//APP
\tldr\tq1, [x1]
\tsdot\tv0.4s, v1.16b, v2.16b
\tstr\tq0, [sp, #16]
\tsubs\tx0, x0, #1
\tb.ne\t.LBB0_1
\tb\t.LBB0_3
.LBB0_3:
\tret
"""
GEMMS = [v for v in family_for("Q4_0").variants if (v.rung.name, v.rung.streaming_bits, v.is_gemv) in MARKS]


def loop_of(variant: MatmulVariant) -> HotLoop:
    name = variant.name
    assembly = compile_apart(variant.emit(), "aarch64", emit="assembly").decode()
    return hot_loop(assembly, name.m_step * name.n_step * name.k_step)


def test_a_loop_ends_where_it_branches_back() -> None:
    loop = hot_loop(LOOP, 16)
    assert loop.num_instructions == 5
    assert loop.num_spills == 1
    assert loop.macs_per_instruction == 16 / 5
    assert loop.mix.startswith("1 ldr, 1 sdot")


@pytest.mark.parametrize("variant", GEMMS, ids=lambda variant: str(variant.name))
def test_more_products_an_instruction_than_kleidiai(variant: MatmulVariant) -> None:
    """A quarter more, but for the GEMM of SVE, whose bound docs/kernels.md shows."""
    mark = MARKS[variant.rung.name, variant.rung.streaming_bits, variant.is_gemv]
    ratio = loop_of(variant).macs_per_instruction / mark.macs_per_instruction
    assert ratio >= (1.15 if str(variant.name).endswith("sve_i8mm") else 1.25)


def test_link_calls_the_function_after_what_sets_its_arguments() -> None:
    ir = "define void @first() { ret void }\ndefine i64 @second(i64 %x) { ret i64 %x }\n"
    nop, end = 0xD503201F, 0xD4000001
    program = link(read_object(compile_apart(ir, "aarch64")), "second", [nop, nop], [end], 4096)
    words = struct.unpack_from("<4I", program.image, PAGE)
    assert words[:2] == (nop, nop)
    assert words[2] >> 26 == 0b100101
    assert TEXT + PAGE + 8 + 4 * (words[2] & 0x3FFFFFF) == program.start
    assert words[3] == end
    assert program.end - program.start == 4
