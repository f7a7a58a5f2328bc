"""Vectors of 16 lanes against NumPy, exactly; exp within about one unit in the last place."""

import re

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.jit.exponential import exp_f32x16
from kernels.jit.function import c_callable
from kernels.jit.vector import (
    LANES,
    above,
    as_f32,
    as_i32,
    at_least,
    f32x16,
    fma,
    i32x16,
    load_f16x16,
    load_f32x16,
    load_i8x16,
    load_i32x16,
    load_u8x16,
    load_u16x16,
    mask_bits,
    max_lanes,
    maximum,
    minimum,
    select,
    store_f16x16,
    store_f32x16,
    sum_lanes,
    to_f32,
)


@c_callable("int64(int64, int64, int64, int64)")
def arithmetic(a_address: int, b_address: int, c_address: int, out: int) -> int:
    a, b, c = load_f32x16(a_address), load_f32x16(b_address), load_f32x16(c_address)
    store_f32x16(out, a + b)
    store_f32x16(out + 64, a - b)
    store_f32x16(out + 128, a * b)
    store_f32x16(out + 192, fma(a, b, c))
    store_f32x16(out + 256, maximum(a, b))
    store_f32x16(out + 320, minimum(a, b))
    store_f32x16(out + 384, select(above(a, b), c, f32x16(np.float32(7))))
    return mask_bits(above(a, b)) | mask_bits(at_least(a, b) & above(c, b)) << 16


@c_callable("int64(int64, int64)")
def conversions(source: int, out: int) -> int:
    store_f32x16(out, load_f16x16(source))
    store_f32x16(out + 64, to_f32(load_i8x16(source)))
    store_f32x16(out + 128, to_f32(load_u8x16(source)))
    store_f32x16(out + 192, to_f32(load_u16x16(source)))
    nibbles = load_i32x16(source) >> i32x16(np.int32(4)) & i32x16(np.int32(15)) | i32x16(np.int32(64))
    store_f32x16(out + 256, to_f32(nibbles - i32x16(np.int32(3))))
    store_f32x16(out + 320, as_f32(as_i32(load_f32x16(source)) << i32x16(np.int32(0))))
    store_f16x16(out + 384, load_f16x16(source))
    return 0


@c_callable("float32(int64, int64)")
def reductions(address: int, greatest: int) -> float:
    value = load_f32x16(address)
    if greatest:
        return max_lanes(value)
    return sum_lanes(value)


@c_callable("int64(int64, int64, int64)")
def exponentials(source: int, target: int, count: int) -> int:
    for index in range(0, count, LANES):
        store_f32x16(target + 4 * index, exp_f32x16(load_f32x16(source + 4 * index)))
    return 0


def test_arithmetic() -> None:
    rng = np.random.default_rng(1)
    a, b, c = (rng.standard_normal(LANES).astype(np.float32) for _ in range(3))
    a[3] = b[3]
    a[5] = np.nan
    out = np.zeros((7, LANES), np.float32)
    bits = arithmetic.ctypes(*(array.ctypes.data for array in (a, b, c, out)))
    exact = a.astype(np.float64) * b + c
    expected = [a + b, a - b, a * b, exact.astype(np.float32)]
    expected += [np.where(a > b, a, b), np.where(b > a, a, b), np.where(a > b, c, np.float32(7))]
    np.testing.assert_array_equal(out, np.array(expected))
    lanes = 1 << np.arange(LANES)
    assert bits == int(((a > b) * lanes).sum() | (((a >= b) & (c > b)) * lanes).sum() << 16)


def test_conversions() -> None:
    rng = np.random.default_rng(2)
    source = rng.standard_normal(LANES).astype(np.float16).repeat(2)
    out = np.zeros((7, LANES), np.float32)
    conversions.ctypes(source.ctypes.data, out.ctypes.data)
    nibbles = (source.view(np.int32) >> 4 & 15 | 64) - 3
    expected = [source[:LANES], source.view(np.int8)[:LANES], source.view(np.uint8)[:LANES]]
    expected += [source.view(np.uint16)[:LANES], nibbles, source.view(np.float32)]
    np.testing.assert_array_equal(out[:6], np.array([row.astype(np.float32) for row in expected]))
    np.testing.assert_array_equal(out[6].view(np.uint16)[:LANES], source.view(np.uint16)[:LANES])


def test_sums_have_the_documented_order() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        values = (rng.standard_normal(LANES) * 10.0 ** rng.integers(-4, 4, LANES)).astype(np.float32)
        parts = values
        while len(parts) > 1:
            half = len(parts) // 2
            parts = parts[:half] + parts[half:]
        assert reductions.ctypes(values.ctypes.data, 0) == parts[0]
        assert reductions.ctypes(values.ctypes.data, 1) == values.max()


def exp_of(values: np.ndarray) -> np.ndarray:
    padded = np.zeros(-(-len(values) // LANES) * LANES, np.float32)
    padded[: len(values)] = values
    out = np.empty_like(padded)
    exponentials.ctypes(padded.ctypes.data, out.ctypes.data, len(padded))
    return out[: len(values)]


def test_exp_is_within_little_more_than_one_ulp() -> None:
    values = np.linspace(-85.9, 88.0, 2_000_000).astype(np.float32)
    exact = np.exp(values.astype(np.float64))
    error = np.abs(exp_of(values) - exact) / np.spacing(exact.astype(np.float32))
    assert error.max() <= 1.1


def test_exp_at_the_ends() -> None:
    values = np.array([0.0, -0.0, -86.0, -100.0, -1e30, -np.inf, 200.0, 1e30, np.inf], np.float32)
    np.testing.assert_allclose(exp_of(values), [1, 1, 0, 0, 0, 0] + [2.0**127] * 3, rtol=1e-5)


@pytest.mark.skipif(detect_cpu().arch != "x86_64" or not detect_cpu().has("avx2", "fma"), reason="reads AVX2 assembly")
def test_exp_is_vector_code_without_calls() -> None:
    assembly = exponentials.assembly()
    assert len(re.findall(r"vfn?m(add|sub)\d+ps", assembly)) >= 16
    assert "expf" not in assembly
