"""Vector functions written as IR: 2^x against float64, every half, sums in one order on every width."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest

from kernels.attention.isa import Isa
from kernels.attention.variants import ATTENTION_VARIANTS
from kernels.cpu import detect_cpu
from kernels.jit.ir import F32, I64, PTR, Function
from kernels.jit.library import KernelLibrary
from kernels.jit.vector_math import EXP2_TERMS, SHORT_EXP2_TERMS, SUM_LANES, exp2, fold_max, fold_sum

HERE = [(v.rung.attributes, v.isa) for v in ATTENTION_VARIANTS if v.rung.runs_on(detect_cpu())]
EVERY_RUNG = pytest.mark.parametrize(("features", "isa"), HERE, ids=[isa.engine for _, isa in HERE])
MAP = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)


def emit_map(name: str, features: str, isa: Isa, verb: str) -> str:
    """A kernel `void name(i64 n, src, dst)` that applies `verb` to vectors of f32 (of f16: `halves`)."""
    f = Function(name, [("n", I64), ("src", PTR), ("dst", PTR)], features)
    with f.loop(0, f["n"], isa.lanes) as i:
        into = f.offset(f["dst"], i << 2)
        if verb == "halves":
            f.store(isa.halves(f, f.offset(f["src"], i << 1), 0), into, align=4)
        else:
            terms = SHORT_EXP2_TERMS if verb == "short_exp2" else EXP2_TERMS
            f.store(exp2(f, f.load(isa.floats, f.offset(f["src"], i << 2), align=4), terms), into, align=4)
    f.ret()
    return f.text()


def run_map(features: str, isa: Isa, verb: str, x: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    name, library = f"map_{verb}_{isa.engine}", KernelLibrary()
    library.load([(name, lambda: emit_map(name, features, isa, verb))])
    assert x.size % SUM_LANES == 0
    out = np.empty(x.size, np.float32)
    MAP(library.address(name))(x.size, x.ctypes.data, out.ctypes.data)
    return out


@EVERY_RUNG
def test_exp2_within_one_ulp(features: str, isa: Isa) -> None:
    x = np.linspace(-123.99, 127, 1 << 18, dtype=np.float32)
    close = np.linspace(-1, 1, 1 << 18, dtype=np.float32)
    for points in (x, close):
        out = run_map(features, isa, "exp2", points)
        exact = np.exp2(points.astype(np.float64))
        assert (np.abs(out - exact) / np.spacing(exact.astype(np.float32))).max() <= 1


@EVERY_RUNG
def test_exp2_of_few_terms(features: str, isa: Isa) -> None:
    """Four times as near as the step of a weight of 15 bits."""
    x = np.linspace(-60, 0, 1 << 18, dtype=np.float32)
    exact = np.exp2(x.astype(np.float64))
    assert (np.abs(run_map(features, isa, "short_exp2", x) / exact - 1)).max() <= 2.0**-18


@EVERY_RUNG
def test_exp2_at_the_ends(features: str, isa: Isa) -> None:
    x = np.zeros(SUM_LANES, np.float32)
    x[:8] = [-np.inf, -1e30, -124.01, -200, np.nan, 1, -1, 127]
    out = run_map(features, isa, "exp2", x)
    np.testing.assert_array_equal(out[:8], np.array([0, 0, 0, 0, np.nan, 2, 0.5, 2.0**127], np.float32))
    assert (out[8:] == 1).all()


@EVERY_RUNG
def test_every_half(features: str, isa: Isa) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    out = run_map(features, isa, "halves", halves)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        exact = halves.astype(np.float32)
    numbers = ~np.isnan(exact)
    np.testing.assert_array_equal(out.view(np.uint32)[numbers], exact.view(np.uint32)[numbers])
    assert np.isnan(out[~numbers]).all()


@EVERY_RUNG
def test_folds(features: str, isa: Isa) -> None:
    """sum: lane i + lane i+8, then +4, +2, +1, to the bit; max: the greatest."""
    name, library = f"folds_{isa.engine}", KernelLibrary()

    def emit() -> str:
        f = Function(name, [("n", I64), ("src", PTR), ("dst", PTR)], features)
        parts = [f.load(isa.floats, f["src"], 4 * start, align=4) for start in range(0, SUM_LANES, isa.lanes)]
        for at, fold in enumerate((fold_sum, fold_max)):
            value = fold(f, parts)
            assert value.type == F32
            f.store(value, f["dst"], 4 * at, align=4)
        f.ret()
        return f.text()

    library.load([(name, emit)])
    x = (np.random.default_rng(0).standard_normal(SUM_LANES) * 10.0 ** np.arange(SUM_LANES)).astype(np.float32)
    out = np.empty(2, np.float32)
    MAP(library.address(name))(SUM_LANES, x.ctypes.data, out.ctypes.data)
    folded = x
    while folded.size > 1:
        folded = folded[: folded.size // 2] + folded[folded.size // 2 :]
    assert out[0] == folded[0]
    assert out[1] == x.max()
