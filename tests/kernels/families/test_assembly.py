"""The hot loop of every matmul micro-kernel, compiled for its own architecture on whatever machine this is."""

from __future__ import annotations

import re

import pytest

from kernels.families.amx.gemm import HEIGHTS
from kernels.families.variant import MatmulVariant
from kernels.jit.build import compile_apart, compile_here
from kernels.ladder import AVX2, AVX512_VNNI, AVX_VNNI, SCALAR
from kernels.naming import AHEAD
from kernels.registry import matmul_variants

DOT = {
    "i8mm": r"\tsmmla\t",
    "dotprod": r"\tsdot\t",
    "dot": r"\tsdot\tz",
    "sve_i8mm": r"\tsmmla\tz",
    "mlal": r"\t(smull|smlal)2?\t",
    "vnni": r"\tvpdpbusd\t.*%zmm",
    "avx_vnni": r"\{vex\}\tvpdpbusd\t.*%ymm",
    "maddubs": r"\tvpmaddubsw\t.*%ymm",
    "mla": r"\tfmla\t",
    "fma": r"\tvfmadd\d+ps\t.*%[yz]mm",
}
FMA = r"\t(fmla\t|fmad\t|vfmadd\d+ps\t)"
FACTOR = r"\t(mla|mul|vpmulld|vpmaddwd|vpdpwssd)\t"  # of integer sums under a byte scale
VECTOR_SPILL = r"\t(?:vmov\w+\t(?=.*\(%rsp)|st[rp]\t(?=.*\[sp|z))(%[xyz]mm\d+|[qz]\d+), "
COMPILED = [v for _, v in matmul_variants() if v.rung != SCALAR]
VARIANTS = [pytest.param(v, id=str(v.name)) for v in COMPILED if v.name.engine not in ("sme2", "amx")]
TILES = [pytest.param(v, id=str(v.name)) for v in COMPILED if v.name.engine == "amx" and v.name.lhs != "qai8dx"]
ROW_TILES = [pytest.param(v, id=str(v.name)) for v in COMPILED if v.name.engine == "amx" and v.name.lhs == "qai8dx"]
STREAMING = [pytest.param(v, id=str(v.name)) for v in COMPILED if v.name.engine == "sme2"]


def hot_loop(assembly: str, dot: str) -> str:
    """The basic block with most dot products; of a block that branches back to itself, what comes before."""
    blocks = [_until_back(block) for block in re.split(r"(?m)^(?=\.LBB)", assembly)]
    return max(blocks, key=lambda block: len(re.findall(dot, block)))


def _until_back(block: str) -> str:
    back = re.search(rf"\t(?:b\.|cbn?z|tbn?z|j)\w*\t.*{re.escape(block.split(':')[0])}$", block, re.MULTILINE)
    return block[: back.end()] if back else block


@pytest.mark.parametrize("variant", VARIANTS)
def test_hot_loop(variant: MatmulVariant) -> None:
    """The rung's own dot product, a fused multiply-add per accumulator, no call, accumulators in registers.

    Channels with one scale for all of K are summed in integers, and need no floats before the end. So are super-blocks,
    whose GEMM loops over blocks: there byte scales are factors of integers.

    AVX2 and AVX-VNNI have 16 registers, where LLVM parks a few accumulators between two turns of the loop.
    """
    name = variant.name
    dot = DOT.get(f"{name.engine}_{name.instructions}") or DOT[name.instructions]
    body = hot_loop(compile_apart(variant.emit(), variant.rung.arch, emit="assembly").decode(), dot)
    num_dots = len(re.findall(dot, body))
    num_accumulators = variant.name.m_step * variant.name.n_step * 4 // vector_bytes(variant)
    assert num_dots >= num_accumulators * expected_dots(variant)
    if loops_over_blocks(variant):
        assert len(re.findall(FACTOR, body)) >= num_accumulators * num_factors(variant)
        assert re.findall(FMA, body) == []
    else:
        assert len(re.findall(FMA, body)) >= num_accumulators * (not name.rhs.endswith("cx"))
    assert not re.search(r"\t(callq?|bl)\t", body)
    if variant.is_gemv:
        assert ("\tprefetcht1\t" in body) == name.tech.endswith(AHEAD)
    most = num_accumulators // {AVX2: 2, AVX_VNNI: 4}.get(variant.rung, num_accumulators + 1)
    if name.lhs == "qsi8d256" and variant.is_gemv:  # once in 256 of K
        most = num_accumulators
    assert len(spilled_accumulators(body)) <= most, body


def loops_over_blocks(variant: MatmulVariant) -> bool:
    """Of super-blocks."""
    return variant.name.lhs == "qsi8d256" and variant.name.k_step == 32


def num_factors(variant: MatmulVariant) -> int:
    """Byte scales in a block: Q2_K's and Q3_K's weights are unpacked times theirs, for GEMMs with room for bytes."""
    rhs = variant.name.rhs
    if rhs.endswith("k32"):
        return 1
    if rhs == "qsi6k16" and not variant.is_gemv and variant.rung == AVX512_VNNI:
        return 1  # a pair of them
    return 0 if rhs != "qsi6k16" and not variant.is_gemv and variant.rung != AVX2 else 2


def spilled_accumulators(body: str) -> list[str]:
    """Stores to the stack of what an fma has just written; unpacked weights may lie there, to be read as operands."""
    writer: dict[str, str] = {}
    spilled = []
    for line in body.splitlines():
        store = re.match(VECTOR_SPILL, line)
        if store and re.search(FMA, writer.get(register(store[1]), "")):
            spilled.append(line)
        registers = re.findall(r"%[xyz]mm\d+|\b[qvz]\d+", line)
        if registers and not store:  # AT&T order writes the last operand, Arm's the first
            writer[register(registers[-1] if "%" in line else registers[0])] = line
    return spilled


def register(name: str) -> str:
    return name.lstrip("%xyzqvm")


def vector_bytes(variant: MatmulVariant) -> int:
    return {"neon": 16, "sve": 32, "avx": 32, "avx2": 32, "avx512": 64}[variant.name.engine]


def expected_dots(variant: MatmulVariant) -> int:
    """Per accumulator vector and turn: 32 elements of K by 4 a lane, by 8 for smmla's 2x2, by 2 for smlal.

    One for each step of K for floats.
    """
    if variant.name.instructions in ("mla", "fma"):
        return variant.name.k_step
    return {"i8mm": 4, "mlal": 16}.get(variant.name.instructions, 8) * variant.name.k_step // 32


@pytest.mark.parametrize("variant", STREAMING)
def test_streaming_hot_loop(variant: MatmulVariant) -> None:
    """Sums and f32 accumulators stay in ZA: outer products of its tiles, or products of four vectors at once.

    Vectors that are stored are unpacked weights, which wait for their turn: at most as many as a panel's minima and
    scales leave no room for.
    """
    name, lanes = variant.name, (variant.rung.streaming_bits or 0) // 32
    assembly = compile_apart(variant.emit(), variant.rung.arch, emit="assembly").decode()
    assert "\tsmstart\tsm\n" in assembly
    assert "\tsmstop\tsm\n" in assembly
    body = hot_loop(assembly, r"\t(smopa|fmopa|sdot|fmla)\tza")
    vectors, is_float = name.n_step // lanes, name.lhs == "f32"
    steps = name.k_step if is_float else name.k_step // 4
    if variant.is_gemv:
        products = rf"\t{'fmla' if is_float else 'sdot'}\tza\.s\[w\d+, \d, vgx4\], {{ .* }}, z\d+\.[bs]\[\d\]"
        assert len(re.findall(products, body)) == vectors // 4 * steps
    else:
        products = rf"\t{'fmopa' if is_float else 'smopa'}\tza\d\.s, p\d/m, p\d/m, z\d+\.{'s' if is_float else 'b'}"
        assert len(re.findall(products, body)) == vectors * steps
    if not is_float:
        groups = vectors // 4 if variant.is_gemv else vectors * lanes // 4
        steps_of = (
            {"fmla": 0, "add": num_factors(variant)} if loops_over_blocks(variant) else {"fmla": float_steps(variant)}
        )
        for instruction, count in steps_of.items():
            assert len(re.findall(rf"\t{instruction}\tza\.s\[w\d+, \d, vgx4\]", body)) == count * groups
    if re.match("q[as]i4c", name.rhs):
        assert len(re.findall(r"\tluti4\t", body)) == vectors * steps // 2
    assert not re.search(r"\tbl\t", body)
    assert len(re.findall(r"\tst(?:r|1\w)\t\{? ?z", body)) <= 2 * (1 + 2 * name.rhs.startswith("qai4"))


def float_steps(variant: MatmulVariant) -> int:
    """By fma of ZA's vectors: one a scale, one a minimum unless that is an outer product."""
    rhs = variant.name.rhs
    if rhs.endswith("cx"):
        return 0
    return 1 + (rhs.startswith("qa") and (variant.is_gemv or rhs.endswith("k16")))


@pytest.mark.parametrize("variant", TILES)
def test_tile_hot_loop(variant: MatmulVariant) -> None:
    """A product of tiles per block, or per half of Q6_K's, while 16 accumulators stay in place.

    Blocks of even and of odd number have tiles of their own, in the loop of each height and once before them.
    LLVM lets the loads of both share what is alike.
    """
    assembly = compile_apart(variant.emit(), variant.rung.arch, emit="assembly").decode()
    is_super = variant.name.lhs == "qsi8d256"
    row = r"\tvpaddd\t.*%zmm" if is_super else FMA
    body = hot_loop(assembly, row)
    halves, num_loops = 2 if variant.name.rhs == "qsi6k16" else 1, len(HEIGHTS)
    for instruction, before in (("tdpbssd", 2), ("tilestored", 1)):
        assert len(re.findall(rf"\t{instruction}\t", assembly)) == halves * (2 * num_loops + before)
    assert len(re.findall(r"\ttileloadd\t", assembly)) >= 2 * halves * (num_loops + 3)
    assert len(re.findall(row, body)) >= 16
    assert not re.search(r"\tcallq?\t", body)
    assert spilled_accumulators(body) == []
    assert assembly.index("\tldtilecfg\t") < assembly.index("\ttdpbssd\t") < assembly.index("\ttilerelease")


@pytest.mark.parametrize("variant", ROW_TILES)
def test_row_tile_hot_loop(variant: MatmulVariant) -> None:
    """Channels: sums of two panels stay in tiles, nothing is stored. Groups: as where a block has a scale."""
    assembly = compile_apart(variant.emit(), variant.rung.arch, emit="assembly").decode()
    is_channel = variant.name.rhs.endswith("cx")
    product, products = ("tdpbsud", 2) if is_channel else ("tdpbssd", max(1, variant.name.k_step // 64))
    body = hot_loop(assembly, rf"\t{product}\t" if is_channel else FMA)
    found = {name: len(re.findall(rf"\t{name}\t", body)) for name in (product, "tileloadd", "tilestored", "callq?")}
    stored = 0 if is_channel else 1
    assert list(found.values()) == [products, 3 if is_channel else 2 * products, stored, 0]
    assert len(re.findall(FMA, body)) == (0 if is_channel else 16)
    assert not re.search(VECTOR_SPILL, body)
    assert len(re.findall(r"\tvcvtdq2ps\t.*%zmm", assembly)) >= 8, "results of whole vectors"
    assert assembly.index("\tldtilecfg\t") < assembly.index(f"\t{product}\t") < assembly.index("\ttilerelease")


def test_compilation_leaves_the_scheduler_as_it_was() -> None:
    """Kernels that keep their emitter's order change an option of the whole process, for as long as they compile."""
    as_written = next(v for v in COMPILED if str(v.name).endswith("neon_i8mm"))
    other = next(v for v in COMPILED if str(v.name).endswith("neon_mlal"))
    before = compile_here(other.emit(), "aarch64", emit="assembly")
    compile_here(as_written.emit(), "aarch64", emit="assembly")
    assert compile_here(other.emit(), "aarch64", emit="assembly") == before
