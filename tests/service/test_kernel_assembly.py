"""Micro-kernels found by name, and their assembly for cores that this machine is not."""

from __future__ import annotations

import pytest

from kernels.jit.build import CompileError
from kernels.naming import UnknownName
from service.kernel_assembly import find_kernel

DOTPROD = "matmul_clamp_f32_qsi8d32p4x4_qsi4c32p4x4_8x4x32_neon_dotprod"


def test_a_matmul_for_another_core() -> None:
    kernel = find_kernel(DOTPROD)
    assembly = kernel.assembly("neoverse-v2")
    assert f"{DOTPROD}:" in assembly
    assert "\tsdot\t" in assembly
    assert kernel.emit().startswith(("define", "declare", "target", ";", "source"))


def test_a_part_that_one_name_has() -> None:
    assert find_kernel("lhs_quant_pack_qsi8d32p4x4_f32_neon_dotprod").rung.name == "neon_dotprod"
    assert find_kernel(DOTPROD.removeprefix("matmul_clamp_")).name == DOTPROD


@pytest.mark.parametrize("name", ["attention_f32_f16p32_d96_6x16_avx2", "attention_f32_f16p32_d96_6x16x128_avx2"])
def test_attention_of_any_head_dim(name: str) -> None:
    kernel = find_kernel(name)
    assert kernel.name == name
    assert "vfmadd" in kernel.assembly()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neon_dotprod", "is in .* names: .* and .* more"),
        ("no_such_kernel", "no micro-kernel's name has"),
        ("attention_f32_f16p32_d64_7x16_avx2", "the nearest is"),
        ("attention_f32_f16p32_d64_6x16_sve", "no attention micro-kernel is written for sve"),
        ("attention_nonsense", "is no attention micro-kernel"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        find_kernel(text)


def test_a_core_that_llvm_does_not_know() -> None:
    with pytest.raises(CompileError, match="knows no aarch64 core called 'neoverse-v9'"):
        find_kernel(DOTPROD).assembly("neoverse-v9")
