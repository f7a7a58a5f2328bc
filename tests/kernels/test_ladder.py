"""Which rung a CPU gets."""

from __future__ import annotations

import pytest

from kernels.cpu.features import CPU
from kernels.families.variant import Family
from kernels.ladder import LADDER, UnknownRung, rungs_for
from kernels.registry import FAMILIES, family_for
from kernels.select import choose_matmul

ZEN3 = CPU("x86_64", "znver3", frozenset({"avx2", "bmi", "bmi2", "f16c", "fma"}), 256)
ICELAKE = CPU(
    "x86_64",
    "icelake-server",
    ZEN3.features | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"},
    512,
)
SAPPHIRE_RAPIDS = CPU("x86_64", "sapphirerapids", ICELAKE.features | {"amx-tile", "amx-int8"}, 512)
ALDER_LAKE = CPU("x86_64", "alderlake", ZEN3.features | {"avxvnni"}, 256)
OLD_X86 = CPU("x86_64", "x86-64", frozenset(), 128)
N1 = CPU("aarch64", "neoverse-n1", frozenset({"asimd", "dotprod"}), 128)
N2 = CPU("aarch64", "neoverse-n2", frozenset({"asimd", "dotprod", "i8mm", "sve", "sve2"}), 128)
V1 = CPU("aarch64", "neoverse-v1", frozenset({"asimd", "dotprod", "i8mm", "sve"}), 256)
SME = CPU("aarch64", "generic", N2.features | {"sme", "sme2"}, 128, streaming_bits=512)
SME_OF_1024 = CPU("aarch64", "generic", SME.features, 128, streaming_bits=1024)
V1_OF_512 = CPU("aarch64", "fujitsu", V1.features, 512)
A72 = CPU("aarch64", "cortex-a72", frozenset({"asimd"}), 128)


@pytest.mark.parametrize(
    ("cpu", "best"),
    [
        (ZEN3, "avx2"),
        (ICELAKE, "avx512_vnni"),
        (SAPPHIRE_RAPIDS, "amx_int8"),
        (ALDER_LAKE, "avx_vnni"),
        (OLD_X86, "scalar"),
        (N1, "neon_dotprod"),
        (N2, "neon_i8mm"),
        (SME, "sme2"),
        (SME_OF_1024, "neon_i8mm"),
        (V1, "sve_i8mm"),
        (V1_OF_512, "neon_i8mm"),
        (A72, "neon"),
    ],
)
def test_best_rung(cpu: CPU, best: str) -> None:
    assert rungs_for(cpu)[0].name == best
    assert rungs_for(cpu)[-1].name == "scalar"


def test_a_cap_takes_the_better_rungs_away() -> None:
    assert [rung.name for rung in rungs_for(N2, "neon_dotprod")] == ["neon_dotprod", "neon", "scalar"]


@pytest.mark.parametrize("cap", ["avx2", "neon_i8mm", "", "nonsense"])
def test_a_cap_that_this_cpu_lacks_is_refused_with_what_it_has(cap: str) -> None:
    with pytest.raises(UnknownRung, match="neon_dotprod, neon, scalar"):
        rungs_for(N1, cap)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    "cpu", [ZEN3, ICELAKE, SAPPHIRE_RAPIDS, ALDER_LAKE, OLD_X86, N1, N2, V1, SME, A72], ids=lambda cpu: cpu.name
)
def test_gemm_and_gemv_share_one_packed_rhs(family: object, cpu: CPU) -> None:
    choice = choose_matmul(family, cpu)  # type: ignore[arg-type]
    assert choice.gemm.rhs == choice.gemv.rhs
    assert choice.gemv.is_gemv
    assert not choice.gemm.is_gemv
    assert choice.rung.runs_on(cpu)
    assert choice.rung.name in choice.reason


def test_every_family_ends_in_the_scalar_rung() -> None:
    for family in FAMILIES:
        assert {variant.rung.name for variant in family.variants} >= {"scalar"}
        assert {variant.rung for variant in family.variants} <= set(LADDER)


@pytest.mark.parametrize(
    "cpu", [ZEN3, ICELAKE, SAPPHIRE_RAPIDS, OLD_X86, N1, N2, A72, ALDER_LAKE], ids=lambda cpu: cpu.name
)
@pytest.mark.parametrize(
    "sources",
    [
        ("Q4_K", "Q4_K", "Q6_K"),
        ("Q5_0", "Q8_0"),
        ("Q4_0", "IQ4_NL", "Q5_1"),
        ("Q2_K", "Q3_K", "Q5_K"),
        ("gemmule.QC8", "gemmule.Q4CX", "gemmule.8DA4W_G64"),
    ],
)
def test_mixed_weights_read_few_lhs(cpu: CPU, sources: tuple[str, ...]) -> None:
    """Activations are packed once for each: one for a kind, but where AVX512 has a GEMM with an LHS of its own."""
    choices = [choose_matmul(family_for(source), cpu) for source in sources]
    own = cpu is ICELAKE and not {"Q6_K", "gemmule.Q4CX"}.isdisjoint(sources)
    assert len({choice.lhs_layouts for choice in choices}) == 1 + own


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    "cpu", [ZEN3, ICELAKE, SAPPHIRE_RAPIDS, ALDER_LAKE, OLD_X86, N1, N2, V1, SME, A72], ids=lambda cpu: cpu.name
)
def test_candidates_run_here_and_read_what_the_static_choice_reads(family: Family, cpu: CPU) -> None:
    choice = choose_matmul(family, cpu)
    gemms, gemvs = family.gemms_beside(choice.gemm), family.gemvs_beside(choice.gemm)
    assert (gemms[0], gemvs[0]) == (choice.gemm, choice.gemv), "the static choice comes first"
    assert all(not gemm.is_gemv and gemm.rung.runs_on(cpu) and gemm.rhs == choice.rhs for gemm in gemms)
    assert all(gemv.is_gemv and gemv.rung.runs_on(cpu) and gemv.rhs == choice.rhs for gemv in gemvs)
    assert {gemv.lhs for gemv in gemvs} == {choice.gemv.lhs}


def test_what_may_take_the_place_of_a_static_choice() -> None:
    """Tiles with and without tile registers; of GEMVs, those that another length of K or memory may prefer."""
    found = {
        (cpu.name, source): [
            [f"{v.name.m_step}x{v.name.n_step}{v.name.tech.removeprefix(v.name.instructions)}" for v in variants]
            for variants in (family.gemms_beside(choice.gemm), family.gemvs_beside(choice.gemm))
        ]
        for cpu in (SAPPHIRE_RAPIDS, ICELAKE, N2, ZEN3)
        for source in ("Q4_0", "Q8_0", "Q2_K", "Q6_K", "gemmule.QC8", "F32")
        for family in (family_for(source),)
        for choice in (choose_matmul(family, cpu),)
    }
    assert found["sapphirerapids", "Q4_0"] == [["16x16", "6x32"], ["1x16", "1x64", "1x16ahead"]]
    assert found["sapphirerapids", "Q2_K"] == [["16x16"], ["1x16", "1x16ahead"]]
    assert found["sapphirerapids", "Q6_K"] == [["16x16", "6x32", "6x32apart"], ["1x16", "1x16ahead"]]
    assert found["sapphirerapids", "Q8_0"] == [["16x16"], ["1x16", "1x64", "1x16ahead"]]
    assert found["sapphirerapids", "gemmule.QC8"] == [["16x32"], ["1x16", "1x16ahead"]]
    assert found["icelake-server", "Q4_0"] == [["6x32"], ["1x16", "1x64", "1x16ahead"]]
    assert found["neoverse-n2", "Q4_0"] == [["8x4", "16x4"], ["1x8", "1x16"]]
    assert found["znver3", "Q4_0"] == [["3x16"], ["1x8", "1x8ahead"]]
    assert all(len(gemms) == len(gemvs) == 1 for (_, source), (gemms, gemvs) in found.items() if source == "F32")
