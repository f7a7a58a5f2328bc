"""The tile GEMMs' loops on a CPU without tiles: AMX's vocabulary is replaced by one in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.families.direct import matmul
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.ladder import AMX_INT8, AVX512_VNNI
from kernels.quant.random_rows import random_weights
from kernels.registry import matmul_variants
from tests.kernels.families.software_tiles import use_software_tiles

TILE_GEMMS = [
    pytest.param(family, variant, id=str(variant.name))
    for family, variant in matmul_variants()
    if variant.rung == AMX_INT8
]

pytestmark = pytest.mark.skipif(not AVX512_VNNI.runs_on(detect_cpu()), reason="vectors are those of AVX512-VNNI")


@pytest.mark.parametrize(("family", "variant"), TILE_GEMMS)
def test_tile_gemms_give_the_bits_of_vectors(
    family: Family, variant: MatmulVariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that fill tiles and rows that do not, more than one stretch of K, columns that end inside a panel."""
    use_software_tiles(monkeypatch)
    library, name = KernelLibrary(), replace(variant.name, tech="memory")
    in_memory = replace(variant, name=name, emit=lambda: variant.emit().replace(str(variant.name), str(name)))
    below = next(v for v in family.variants if v.rung == AVX512_VNNI and not v.is_gemv)
    n = 2 * variant.name.n_step + 5
    for m, k in ((variant.few_rows + 1, 256), (16, 2048), (37, 1280), (70, 768)):
        x = np.random.default_rng(m).standard_normal((m, k), np.float32)
        raw = random_weights(family.source, n, k, seed=k)
        got, expected = (matmul(library, v, x, v.rhs.pack(raw), n, (-40.0, 30.0)) for v in (in_memory, below))
        np.testing.assert_array_equal(got, expected)
