"""Q6_K's GEMMs on AVX512-VNNI, where sums of 16 products fit 16 bits and where they do not: the same integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from kernels.cpu import detect_cpu
from kernels.families.direct import matmul, pack_lhs
from kernels.families.supers.lhs_unsigned import HALF, LOUD, MOST_OF_16, UnsignedQsi8d256
from kernels.families.variant import MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.quant.random_rows import random_weights
from kernels.quant.super_blocks import SUPER_BLOCK
from kernels.registry import family_for

FAMILY = family_for("Q6_K")
PAIRED, APART = (variant for variant in FAMILY.variants if isinstance(variant.lhs, UnsignedQsi8d256))
K = 3 * SUPER_BLOCK
needs_the_rung = pytest.mark.skipif(not PAIRED.rung.runs_on(detect_cpu()), reason=f"needs {PAIRED.rung.name}")


def row(most: int, seed: int) -> npt.NDArray[np.float32]:
    """Integers that are packed as they are; of one half of each super-block the magnitudes add up to `most`."""
    random = np.random.default_rng(seed)
    q = random.integers(-30, 31, (K // SUPER_BLOCK, SUPER_BLOCK // HALF, HALF)).astype(np.float32)
    q[:, 0, 0] = 127
    share, rest = divmod(most, HALF)
    signs = np.where(random.integers(0, 2, 1), 1, -1)
    q[:, random.integers(1, q.shape[1])] = signs * (share + (np.arange(HALF) < rest))
    return q.reshape(K)


def flags(x: npt.NDArray[np.float32], library: KernelLibrary, variant: MatmulVariant) -> npt.NDArray[np.int32]:
    packed = pack_lhs(library, variant.lhs_pack, x).reshape(variant.lhs.pack(x).shape)
    np.testing.assert_array_equal(packed, variant.lhs.pack(x))
    return np.ascontiguousarray(packed[..., 4 * LOUD : 4 * LOUD + 4]).view(np.int32)[..., 0]


@needs_the_rung
def test_a_row_is_loud_from_what_overflows_on() -> None:
    x = np.stack([row(most, seed) for seed, most in enumerate((0, MOST_OF_16, MOST_OF_16 + 1, HALF * 127))])
    expected = np.array([0, 0, 1, 1])[:, None].repeat(K // SUPER_BLOCK, axis=1)
    np.testing.assert_array_equal(flags(x, KernelLibrary(), PAIRED), expected)
    assert MOST_OF_16 * 32 < 1 << 15, "of weights down to -32"


@needs_the_rung
@pytest.mark.parametrize("num_loud", [0, 1, 5, 13])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("variant", [PAIRED, APART], ids=lambda variant: variant.name.tech)
def test_loud_and_other_rows_give_the_same_integers(num_loud: int, extreme: bool, variant: MatmulVariant) -> None:
    """Two tiles and a row; loud ones among them, or all."""
    library, num_rows, n = KernelLibrary(), 2 * variant.name.m_step + 1, 50
    loud = np.random.default_rng(num_loud).permutation(num_rows) < num_loud
    x = np.stack([row(HALF * 127 if is_loud else MOST_OF_16, seed) for seed, is_loud in enumerate(loud)])
    raw = random_weights("Q6_K", n, K, seed=4, extreme=extreme)
    assert (flags(x, library, variant)[:, 0] == loud).all()
    out = matmul(library, variant, x, variant.rhs.pack(raw), n)
    scalar = next(v for v in FAMILY.variants if v.rung.name == "scalar" and not v.is_gemv)
    np.testing.assert_array_equal(out, matmul(library, scalar, x, scalar.rhs.pack(raw), n))
