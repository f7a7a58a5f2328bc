"""The self-test finds kernels that are broken in each of the ways it looks for, and selection goes down a rung."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kernels.cpu import detect_cpu
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.ladder import SCALAR, rungs_for
from kernels.registry import FAMILIES, family_for
from kernels.select import NoRungLeft, choose_matmul
from kernels.self_test import SelfTest

CPU = detect_cpu()
Q4_0 = family_for("Q4_0")
# The best rung with a GEMV of its own: amx_int8 shares the next one's.
BEST = next(rung for rung in rungs_for(CPU) if any(v.is_gemv and v.rung == rung for v in Q4_0.variants))
Break = Callable[[str], str]


def broken(variant: MatmulVariant, number: int, damage: Break) -> MatmulVariant:
    """The variant with damaged code, under a name of its own: a process loads each name once."""
    name = replace(variant.name, tech=f"{variant.name.tech}broken{number}")
    return replace(variant, name=name, emit=lambda: damage(variant.emit().replace(str(variant.name), str(name))))


def empty(ir: str) -> str:
    """Returns at once."""
    head, body = ir.split("{\n", 1)
    return f"{head}{{\nentry:\n  ret void\n}}\n{body[body.index('}') + 2 :]}"


def one_block_less(ir: str) -> str:
    """Leaves the last block of K out: k >> 5 becomes (k - 32) >> 5, so panels seem shorter as well."""
    at = ir.index("lshr i64 %k, 5")
    line = ir[ir.rindex("\n", 0, at) + 1 : ir.index("\n", at)]
    return ir.replace(line, f"  %less = sub i64 %k, 32\n{line.replace('%k', '%less')}", 1)


def with_broken(family: Family, number: int, damage: Break, is_gemv: bool, all_rungs: bool = False) -> Family:
    return replace(
        family,
        variants=tuple(
            broken(v, number, damage) if v.is_gemv == is_gemv and (all_rungs or v.rung == BEST) else v
            for v in family.variants
        ),
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family.source))
def test_every_family_passes(family: Family) -> None:
    check = SelfTest(KernelLibrary())
    for rung in rungs_for(CPU):
        choose_matmul(family, CPU, rung.name, check)
    assert check.faults == ()
    assert check.num_tested >= 1


@pytest.mark.parametrize(
    ("number", "damage", "is_gemv", "reason"),
    [
        (1, empty, False, "the reference"),
        (2, empty, True, "the reference"),
        (3, one_block_less, False, "the reference"),
        (4, one_block_less, True, "the reference"),
    ],
)
def test_a_broken_kernel_costs_its_rung(number: int, damage: Break, is_gemv: bool, reason: str) -> None:
    if rungs_for(CPU)[0] == SCALAR:
        pytest.skip("this CPU has no rung above scalar")
    check = SelfTest(KernelLibrary())
    family = with_broken(Q4_0, number, damage, is_gemv)
    choice = choose_matmul(family, CPU, BEST.name, check)
    (fault,) = check.faults
    assert f"broken{number}" in fault.kernel
    assert reason in fault.reason
    next_best = rungs_for(CPU, BEST.name)[1]
    assert (fault.rung, choice.rung) == (BEST.name, next_best)
    assert f"{BEST.name} failed its self-test" in choice.reason
    assert choose_matmul(family, CPU, BEST.name, check) == choice, "the verdict is remembered"
    assert check.num_tested == 2


def test_when_nothing_works_the_error_says_what_failed() -> None:
    family = with_broken(Q4_0, 6, empty, False, all_rungs=True)
    with pytest.raises(NoRungLeft, match=r"no micro-kernel for Q4_0 works here: .*scalar failed its self-test"):
        choose_matmul(family, CPU, None, SelfTest(KernelLibrary()))
