"""Names and choice of attention micro-kernels: pure, so every CPU can be asked about."""

from __future__ import annotations

import pytest

from kernels.attention.variants import ATTENTION_VARIANTS, AttentionName, select_attention
from kernels.ladder import LADDER, Rung
from kernels.naming import UnknownName
from kernels.runtime.kv_types import F32_KV


def rungs(best: str, arch: str) -> list[Rung]:
    """The ladder of a CPU of this architecture from its rung `best` down."""
    ladder = [rung for rung in LADDER if rung.arch in (arch, "")]
    return ladder[[rung.name for rung in ladder].index(best) :]


@pytest.mark.parametrize(
    ("best", "arch", "engine"),
    [
        ("avx512_vnni", "x86_64", "avx512"),
        ("avx_vnni", "x86_64", "avx2"),
        ("avx2", "x86_64", "avx2"),
        ("scalar", "x86_64", "scalar"),
        ("neon_i8mm", "aarch64", "neon"),
        ("neon_dotprod", "aarch64", "neon"),
        ("neon", "aarch64", "neon"),
        ("scalar", "aarch64", "scalar"),
    ],
)
def test_choice(best: str, arch: str, engine: str) -> None:
    assert select_attention(rungs(best, arch)).isa.engine == engine


def test_names_are_computed_and_parsed_back() -> None:
    names = [variant.tile(64, rows).name for variant in ATTENTION_VARIANTS for rows in range(1, variant.rows + 1)]
    names += [ATTENTION_VARIANTS[1].tile(256, 4, 512, cap).name for cap in (None, 50.0, 7.25)]
    names += [ATTENTION_VARIANTS[1].tile(256, 4, None, 50.0).name]
    names += [ATTENTION_VARIANTS[1].wide_tile(64).name]
    assert len(set(names)) == len(names)
    assert {"attention_f32_f16p32_d64_6x16_avx2", "attention_f32_f16p32_d64_6x16x128_avx2"} <= set(names)
    for name in names:
        assert str(AttentionName.parse(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "attention_f32_f16p32_d64_6x16",
        "attention_f32_f16p16_d64_6x16_avx2",
        "attention_f32_f16p32_d64_6x16x64_avx2",
    ],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UnknownName, match="no attention micro-kernel"):
        AttentionName.parse(text)


@pytest.mark.parametrize(("num_groups", "rows"), [(1, 1), (3, 3), (6, 6), (7, 4), (8, 4), (12, 6), (16, 6)])
def test_decode_tiles_are_equally_high(num_groups: int, rows: int) -> None:
    (avx2,) = (variant for variant in ATTENTION_VARIANTS if variant.isa.engine == "avx2")
    assert avx2.decode_tile(64, num_groups).rows == rows


def test_a_cache_of_floats_is_read_where_it_is() -> None:
    for variant in ATTENTION_VARIANTS:
        assert variant.wide_tile(64, kv=F32_KV) == variant.tile(64, kv=F32_KV)
