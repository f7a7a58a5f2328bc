"""Packed planes: size beside the source's, and the packed bits against the codes they hold."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.families.planes.code import BLOCK_CODES, SUPER_CODES, PlaneCode
from kernels.families.planes.families import FAMILIES as BLOCKS
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.supers.families import FAMILIES as SUPERS
from kernels.families.supers.lhs_unsigned import UnsignedQsi8d256
from kernels.families.variant import Family
from kernels.ladder import AVX512_VNNI, LADDER, Rung
from kernels.quant.fields import BLOCK
from kernels.quant.random_rows import random_weights
from kernels.registry import family_for
from kernels.select import choose_matmul
from tests.kernels.test_ladder import ICELAKE, N1, SAPPHIRE_RAPIDS, ZEN3

SIX_BITS = tuple(code.with_six_bits() for code in SUPER_CODES if code.with_six_bits() != code)
CODES = (*BLOCK_CODES, *SUPER_CODES, *SIX_BITS)
LAYOUTS = [(8, 4), (16, 4), (4, 4), (4, 8)]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize(("nr", "kr"), LAYOUTS)
def test_packed_bytes_are_at_most_a_twentieth_more(code: PlaneCode, nr: int, kr: int) -> None:
    raw = random_weights(code.source.name, 4 * nr, 1024, seed=1)
    packed = PlaneRhs(code, nr, kr).pack(raw)
    assert packed.nbytes == 4 * PlaneRhs(code, nr, kr).panel_bytes(1024)
    assert packed.nbytes <= 1.05 * raw.nbytes


@pytest.mark.parametrize("code", SIX_BITS, ids=lambda code: code.name)
def test_scales_of_six_bits_are_as_large_as_the_source_s(code: PlaneCode) -> None:
    """And hold every scale and minimum, low bits and high bits apart."""
    k, n, nr = 512, 16, 16
    raw = random_weights(code.source.name, n, k, seed=3)
    rhs, fields = PlaneRhs(code, nr, 4), code.source.fields(raw)
    (panel,) = rhs.pack(raw)
    assert panel.nbytes == raw.nbytes
    assert fields.sub_scales is not None
    assert fields.sub_mins is not None
    for b in range(k // BLOCK):
        at = b * rhs.block_bytes + (b // 8 + 1) * rhs.header_bytes
        low, high = panel[at : at + nr], panel[at + nr : at + rhs.scales_bytes]
        nibbles = np.concatenate([high & 15, high >> 4])
        np.testing.assert_array_equal((low & 15) + 16 * (nibbles & 3), fields.sub_scales[:, b].reshape(-1))
        np.testing.assert_array_equal((low >> 4) + 16 * (nibbles >> 2), fields.sub_mins[:, b].reshape(-1))


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize(("nr", "kr"), LAYOUTS)
def test_every_code_is_found_again(code: PlaneCode, nr: int, kr: int) -> None:
    """Operand by operand from the words of each plane, as the docstring of the layout draws them."""
    k, n = 512, nr + 1
    raw = random_weights(code.source.name, n, k, seed=2)
    rhs = PlaneRhs(code, nr, kr)
    (panel, _) = rhs.pack(raw)
    codes = code.source.fields(raw).codes
    for b in (0, 1, 9, k // BLOCK - 1):
        at = b * rhs.block_bytes + (b // 8 + 1) * rhs.header_bytes + rhs.scales_bytes
        words = panel[at : at + rhs.num_words * rhs.word_bytes].reshape(-1, rhs.word_bytes)
        operands = np.zeros((OPERANDS, rhs.word_bytes), np.uint8)
        low = first = 0
        for width in code.planes:
            for index in range(OPERANDS):
                bits = words[first + index % width] >> (index // width * width) & ((1 << width) - 1)
                operands[index] |= (bits << low).astype(np.uint8)
            low, first = low + width, first + width
        groups = operands.reshape(BLOCK // kr, nr, kr)
        for column in range(nr):
            np.testing.assert_array_equal(groups[:, column].reshape(-1), codes[column, b])


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_a_rung_packs_the_lhs_once_for_mixed_files(rung: Rung) -> None:
    """Q4_K_M holds Q4_K and Q6_K, or Q5_0 and Q8_0 where rows are no super-blocks: one LHS each, but that Q6_K's GEMM
    on AVX512-VNNI has its own."""
    for families in (SUPERS, [*BLOCKS, *(family_for(source) for source in ("Q4_0", "Q4_1", "Q8_0"))]):
        layouts = {(v.is_gemv, v.lhs) for family in families for v in family.variants if v.rung == rung}
        own = {layout for layout in layouts if isinstance(layout[1], UnsignedQsi8d256)}
        assert len(layouts - own) <= 2
        assert len(own) == (families is SUPERS and rung == AVX512_VNNI)


@pytest.mark.parametrize("family", [*BLOCKS, *SUPERS], ids=lambda family: family.name)
def test_the_best_rung_is_written_for(family: Family) -> None:
    for cpu, rung in ((ZEN3, "avx2"), (ICELAKE, "avx512_vnni"), (SAPPHIRE_RAPIDS, "amx_int8"), (N1, "neon_dotprod")):
        assert choose_matmul(family, cpu).rung.name == rung
