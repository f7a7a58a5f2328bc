"""Names and choice of attention micro-kernels: pure, so every CPU can be asked about."""

from __future__ import annotations

import pytest

from kernels.attention.variants import ATTENTION_VARIANTS, AttentionName, kv_type_of, select_attention
from kernels.ladder import LADDER, Rung
from kernels.naming import UnknownName
from kernels.runtime.kv_types import F16_KV, F32_KV, I16_KV, Q8_0_KV, KVType


def rungs(best: str, arch: str) -> list[Rung]:
    """The ladder of a CPU of this architecture from its rung `best` down."""
    ladder = [rung for rung in LADDER if rung.arch in (arch, "")]
    return ladder[[rung.name for rung in ladder].index(best) :]


@pytest.mark.parametrize(
    ("best", "arch", "engine"),
    [
        ("avx512_vnni", "x86_64", "avx512_vnni"),
        ("avx_vnni", "x86_64", "avx2_vnni"),
        ("avx2", "x86_64", "avx2"),
        ("scalar", "x86_64", "scalar"),
        ("neon_i8mm", "aarch64", "neon"),
        ("neon_dotprod", "aarch64", "neon"),
        ("neon", "aarch64", "neon"),
        ("scalar", "aarch64", "scalar"),
    ],
)
def test_choice(best: str, arch: str, engine: str) -> None:
    assert select_attention(rungs(best, arch)).engine == engine


def test_names_are_computed_and_parsed_back() -> None:
    names = [variant.tile(64, rows).name for variant in ATTENTION_VARIANTS for rows in range(1, variant.rows + 1)]
    (avx2,) = (variant for variant in ATTENTION_VARIANTS if variant.engine == "avx2")
    names += [avx2.tile(256, 4, 512, cap).name for cap in (None, 50.0, 7.25)]
    names += [avx2.tile(256, 4, None, 50.0).name, avx2.wide_tile(64).name]
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
    (avx2,) = (variant for variant in ATTENTION_VARIANTS if variant.engine == "avx2")
    assert avx2.decode_tile(64, num_groups).rows == rows


@pytest.mark.parametrize("kv", [F32_KV, I16_KV], ids=lambda kv: kv.name)
def test_what_is_multiplied_as_it_is_kept_is_read_where_it_is(kv: KVType) -> None:
    for variant in ATTENTION_VARIANTS:
        assert variant.wide_tile(64, kv=kv) == variant.tile(64, kv=kv)


def test_pairs_of_integers_where_they_are_faster() -> None:
    chosen = {variant.engine: variant.kv_type for variant in ATTENTION_VARIANTS}
    assert {engine for engine, kv in chosen.items() if kv is I16_KV} == {"avx512_vnni", "avx2_vnni"}
    assert kv_type_of("auto", rungs("avx512_vnni", "x86_64")) is I16_KV
    assert kv_type_of("auto", rungs("avx2", "x86_64")) is F16_KV
    assert kv_type_of("auto", rungs("neon_i8mm", "aarch64")) is F16_KV
    assert kv_type_of("q8_0", rungs("avx512_vnni", "x86_64")) is Q8_0_KV
