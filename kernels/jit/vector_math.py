"""Vector functions written as IR: exp2, halves to floats, sums in a fixed order. Knows no kernel.

Every rung computes the same bits: one formula, real fused multiply-adds, and sums over SUM_LANES virtual lanes however
wide the registers are. So a narrow rung is the exact oracle of a wide one, and a result does not depend on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from kernels.jit.ir import F16, F32, I16, I32, Function, Value, vector

SUM_LANES: Final = 16
LOG2_E: Final = math.log2(math.e)

# Adding 1.5 x 2^23 leaves the nearest integer in the low bits of the sum, without a rounding instruction.
ROUND: Final = 12582912.0
# Least exponents of a result: what is smaller becomes 0. Not -126, so that p x (the smallest f16) is a float and never
# rounds to -0: adding 0 x v to such a sum changes no bit of it.
LEAST_EXPONENT: Final = -124.0

# Minimax in relative error with constant term 1: 2^f for |f| <= 1/2, error 2^-28.9.
EXP2_TERMS: Final = (
    0.6931471824645996, 0.24022647738456726, 0.055503323674201965,
    0.00961843691766262, 0.0013398873852565885, 0.00015353361959569156,
)  # fmt: skip


# The same for weights that become int16: error 2^-18.4.
SHORT_EXP2_TERMS: Final = (0.6931241932950397, 0.2402409861398198, 0.05590642565776204, 0.009582853231723075)


def exp2(f: Function, x: Value, terms: Sequence[float] = EXP2_TERMS) -> Value:
    """2^x for x <= 127, within 1 ulp with all terms; 0 below 2^-124 and for -inf, NaN for NaN."""
    magic = f.const(x.type, ROUND)
    rounded = x + magic
    fraction = x - (rounded - magic)
    value = f.const(x.type, terms[-1])
    for coefficient in (*reversed(terms[:-1]), 1.0):
        value = f.fma(value, fraction, f.const(x.type, coefficient))
    small = f.compare("olt", x, f.const(x.type, LEAST_EXPONENT))
    return f.select(small, f.zero(x.type), _scaled(f, value, rounded))


def _scaled(f: Function, value: Value, rounded: Value) -> Value:
    """value x 2^n, n being the low bits of `rounded`: added to the exponent field."""
    integers = value.type.replace(F32, I32)
    bits = f.cast("bitcast", value, integers) + (f.cast("bitcast", rounded, integers) << 23)
    return f.cast("bitcast", bits, value.type)


def load_halves(f: Function, lanes: int, pointer: Value, offset: int = 0, native: bool = True) -> Value:
    """`lanes` f16 from memory as f32, exactly. `native` False: by integer arithmetic, for a CPU without conversions."""
    floats = vector(lanes, F32)
    if native:
        return f.cast("fpext", f.load(vector(lanes, F16), pointer, offset, align=2), floats)
    integers = vector(lanes, I32)
    bits = f.cast("zext", f.load(vector(lanes, I16), pointer, offset, align=2), integers)
    magnitude = (bits & 0x7FFF) << 13
    # The f32 exponent is 112 too small then; the product mends it, and makes subnormal halves normal.
    value = f.cast("bitcast", magnitude, floats) * f.const(floats, 2.0**112)
    special = f.compare("ugt", magnitude, f.const(integers, (0x7BFF << 13)))
    mended = f.select(special, magnitude | 0x7F800000, f.cast("bitcast", value, integers))
    return f.cast("bitcast", mended | ((bits & 0x8000) << 16), floats)


def maximum(f: Function, left: Value, right: Value) -> Value:
    return f.select(f.compare("ogt", left, right), left, right)


def fold_sum(f: Function, parts: Sequence[Value]) -> Value:
    """Sum of SUM_LANES virtual lanes (`parts` side by side): lane i + lane i+8, then +4, +2, +1. A scalar."""
    return _fold(f, list(parts), lambda low, high: low + high)


def fold_max(f: Function, parts: Sequence[Value]) -> Value:
    return _fold(f, list(parts), lambda low, high: maximum(f, low, high))


def _fold(f: Function, parts: list[Value], join: Callable[[Value, Value], Value]) -> Value:
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [join(parts[i], parts[i + half]) for i in range(half)]
    (value,) = parts
    lanes = int(value.type[1:].split(" ", 1)[0])
    while lanes > 1:
        lanes //= 2
        value = join(f.shuffle(value, range(lanes)), f.shuffle(value, range(lanes, 2 * lanes)))
    return f.extract(value, 0)
