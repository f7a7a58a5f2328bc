"""Hot loops without their loads: the same operations, and no wait for a register that only lost its load."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from kernels.families.variant import MatmulVariant
from kernels.jit.build import compile_here
from kernels.ladder import AMX_INT8, SCALAR
from kernels.registry import matmul_variants
from service.kernel_bench.register_loop import register_loop

X86 = [v for _, v in matmul_variants() if v.rung.arch == "x86_64" and v.rung not in (SCALAR, AMX_INT8)]

LOOP = """
f:
	xorl	%eax, %eax
.LBB0_1:
	vpbroadcastd	4(%rsi,%rax), %ymm3
	vmovdqa	(%rdx), %ymm4
	vpmaddubsw	%ymm3, %ymm4, %ymm4
	vpaddw	%ymm4, %ymm0, %ymm0
	vmovdqa	32(%rdx), %ymm4
	vpmaddubsw	%ymm3, %ymm4, %ymm4
	vpaddw	%ymm4, %ymm0, %ymm0
	vmulps	64(%rdx), %ymm6, %ymm7
	vmovaps	%ymm7, 32(%rsp)
	vmovaps	96(%rdx), %ymm7
	vfmadd231ps	32(%rsp), %ymm7, %ymm1
	vfmadd213ps	%ymm2, %ymm6, %ymm7
	vmovaps	%ymm7, %ymm2
	addq	$64, %rdx
	decq	%rcx
	jne	.LBB0_1
	retq
"""


def test_loads_and_counting_go() -> None:
    names = [line.split()[0] for line in register_loop(LOOP)]
    assert names == ["vpmaddubsw", "vpaddw", "vpmaddubsw", "vpaddw", "vmulps", "vfmadd231ps", "vfmadd231ps"]


def test_a_reloaded_register_is_no_dependency() -> None:
    first, _, second, *_ = register_loop(LOOP)
    (result,) = re.findall(r"(%ymm\d+)$", first)
    assert result not in second.rsplit(", ", 1)[0], "the second operand was loaded afresh"


def test_sums_are_carried_to_the_next_turn() -> None:
    """In the loop's last write of a sum stands the register that its first read has."""
    lines = register_loop(LOOP)
    sums = [line for line in lines if "vpaddw" in line]
    first_read = sums[0].split("\t")[-1].split(" ", 1)[1].split(", ")[1]
    assert sums[-1].endswith(first_read)


def test_a_register_that_is_cleared_holds_what_was_loaded() -> None:
    """No operation: as an own register it might get a number that its old encoding does not have."""
    begun, loop = LOOP.split("\tvpaddw", 1)
    loop = f"{begun}\tvpxor\t%xmm0, %xmm0, %xmm0\n\tvpaddw{loop}"
    assert [line for line in register_loop(loop) if "xor" in line] == []


ASSEMBLE = """
from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from kernels.registry import matmul_variants
from service.kernel_bench.ceiling import ceiling_of
usable = rungs_for(detect_cpu())
print([ceiling_of(variant) is None for _, variant in matmul_variants() if variant.rung in usable])
"""


def test_the_loops_of_this_cpu_assemble() -> None:
    """In a process of its own, for LLVM ends it where a line is wrong."""
    done = subprocess.run([sys.executable, "-c", ASSEMBLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "False" in done.stdout or os.uname().machine != "x86_64"


@pytest.mark.parametrize("variant", X86, ids=lambda variant: str(variant.name))
def test_every_hot_loop_keeps_its_operations(variant: MatmulVariant) -> None:
    assembly = compile_here(variant.emit(), "x86_64", emit="assembly").decode()
    lines = register_loop(assembly)
    text = "\n".join(lines)
    assert not re.search(r"\(%r|%r[a-z0-9]+", text), "no memory, no address"
    sources = variant.name.m_step * variant.name.n_step * variant.name.k_step
    lanes = {"maddubs": 32, "vnni": 64 if variant.name.engine == "avx512" else 32}.get(variant.name.instructions)
    if lanes is None:
        lanes = 16 if variant.name.engine == "avx512" else 8
    dots = re.findall(r"\t(vpdpbusd|vpmaddubsw|vfmadd\w+ps)\t?", text)
    dots = [name for name in dots if name.startswith("vf") == (variant.name.instructions == "fma")]
    assert len(dots) >= sources // lanes
