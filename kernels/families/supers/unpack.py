"""A super-block of a panel, from packed planes to what the tiles multiply with. Knows the layout, no loop."""

from __future__ import annotations

from kernels.families.planes.code import SUB16, PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.unpack import by_vector, codes, column_halves, operand_names, weights
from kernels.families.planes.verbs import Verbs
from kernels.families.supers.lhs import SUMS16, SUMS32
from kernels.jit.ir import F32, I8, I16, I32, Function, Value, vector
from kernels.quant.fields import BLOCK
from kernels.quant.super_blocks import SUB_BLOCKS

Entries = list[dict[str, Value]]
"""For each vector of a panel, its own by name."""


def num_factors(code: PlaneCode) -> int:
    """Byte scales of a block: of operands that have been multiplied with theirs, none."""
    return BLOCK // code.sub if code.sub else 0


def sums_fields(sub: int) -> range:
    """The fields of the LHS that hold sums over so many elements, pairs of them."""
    return range(SUMS16, SUMS16 + SUB_BLOCKS) if sub == SUB16 else range(SUMS32, SUMS32 + SUB_BLOCKS // 2)


def owed_fields(verbs: Verbs, code: PlaneCode) -> range:
    """Of the sums that operands owe their zero point for; `code`: theirs."""
    return sums_fields(code.sub) if verbs.owed(code) else range(0)


def mins_fields(rhs: PlaneRhs) -> range:
    return sums_fields(rhs.code.sub) if rhs.code.has_min else range(0)


def block_entry_names(verbs: Verbs, code: PlaneCode) -> list[str]:
    return [*operand_names(verbs), *(f"sub{h}" for h in range(num_factors(code)))]


def super_entry_names(rhs: PlaneRhs, verbs: Verbs, code: PlaneCode) -> list[str]:
    names = ["scale", *(["minimum"] if rhs.code.has_min else [])]
    names += [f"owed{field}" for field in (owed_fields(verbs, code) if code.sub else range(0))]
    return [*names, *(f"mins{field}" for field in mins_fields(rhs))]


def unpack_block(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value, code: PlaneCode) -> Entries:
    """`code`: of the operands, the layout's own or `multiplied`."""
    shared = block_factors(f, rhs, verbs, block, code)
    if code == rhs.code:
        operands = [weights(f, rhs, verbs, operand) for operand in codes(f, rhs, block)]
    else:
        operands = _multiplied(f, rhs, block, code.zero)
    return by_vector(f, verbs, shared, operands)


def block_factors(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value, code: PlaneCode) -> dict[str, Value]:
    """One element a column."""
    if code.sub == BLOCK:
        return {"sub0": verbs.sub_scale(f, _scale_and_minimum(f, rhs, block)[0])}
    if code.sub == SUB16:
        return dict(zip(("sub0", "sub1"), verbs.sub_scales(f, scale_pairs(f, rhs, block)), strict=True))
    return {}


def unpack_super(f: Function, rhs: PlaneRhs, verbs: Verbs, header: Value, code: PlaneCode) -> Entries:
    """All that blocks have together."""
    shared = super_scales(f, rhs, verbs, header, code)
    for b in range(SUB_BLOCKS):
        shared |= corrections(f, rhs, verbs, header, code, b)
    return by_vector(f, verbs, shared)


def super_scales(f: Function, rhs: PlaneRhs, verbs: Verbs, header: Value, code: PlaneCode) -> dict[str, Value]:
    """One element a column."""
    shared = column_halves(f, rhs, verbs, header)
    if rhs.code.zero and code != rhs.code:
        shared["scale"] = f.zero(vector(rhs.nr, F32)) - shared["scale"]  # of negated products
    return shared


def corrections(f: Function, rhs: PlaneRhs, verbs: Verbs, header: Value, code: PlaneCode, b: int) -> dict[str, Value]:
    """What the sums field that ends with block b is multiplied with: pairs of i16 as i32, one element a column."""
    block = f.offset(header, rhs.header_bytes + b * rhs.block_bytes)
    pairs_type, made = vector(rhs.nr, I32), {}
    if code.sub == SUB16 and verbs.owed(code):
        pairs = scale_pairs(f, rhs, block)
        made[f"owed{SUMS16 + b}"] = f.cast("bitcast", pairs * f.const(pairs.type, -code.zero), pairs_type)
    if rhs.code.has_min and rhs.code.sub == SUB16:
        made[f"mins{SUMS16 + b}"] = f.cast("bitcast", _bytes16(f, rhs, block, "zext") >> 4, pairs_type)
    elif rhs.code.has_min and b % 2 == 1:
        low, high = (_scale_and_minimum(f, rhs, f.offset(block, -before))[1] for before in (rhs.block_bytes, 0))
        made[f"mins{SUMS32 + b // 2}"] = low | (high << 16)
    return made


def _scale_and_minimum(f: Function, rhs: PlaneRhs, block: Value) -> tuple[Value, Value]:
    """Per 32, i32, one a column."""
    if not rhs.code.six_bits:
        return _column_bytes(f, block, 0, rhs.nr), _column_bytes(f, block, rhs.nr, rhs.nr)
    half, low = rhs.nr // 2, _column_bytes(f, block, 0, rhs.nr)
    high = f.load(vector(half, I8), block, rhs.nr)
    shifts = Value(f, low.type, f"<{', '.join(['i32 0'] * half + ['i32 4'] * half)}>")
    nibbles = f.cast("zext", f.shuffle(high, [*range(half)] * 2), low.type) >> shifts
    return low & 15 | (nibbles & 3) << 4, low >> 4 | (nibbles & 12) << 2


def _column_bytes(f: Function, block: Value, offset: int, count: int) -> Value:
    """Bytes without a sign -> i32"""
    return f.cast("zext", f.load(vector(count, I8), block, offset), vector(count, I32))


def _bytes16(f: Function, rhs: PlaneRhs, block: Value, extension: str) -> Value:
    """Two bytes a column as i16."""
    return f.cast(extension, f.load(vector(2 * rhs.nr, I8), block), vector(2 * rhs.nr, I16))


def scale_pairs(f: Function, rhs: PlaneRhs, block: Value) -> Value:
    """Two scales a column, i16."""
    return _bytes16(f, rhs, block, "zext") & 15 if rhs.code.has_min else _bytes16(f, rhs, block, "sext")


def _multiplied(f: Function, rhs: PlaneRhs, block: Value, zero: int) -> list[Value]:
    """Weights times their scales per 16, negated where the code has a zero point, plus `zero`: modulo 256."""
    code = rhs.code
    scales = f.load(vector(2 * rhs.nr, I8), block)
    if code.has_min:
        scales = scales & 15
    factors: dict[tuple[int, ...], Value] = {}
    made = []
    for index, operand in enumerate(codes(f, rhs, block)):
        lanes = tuple(2 * column + 2 * index // OPERANDS for column in rhs.operand_columns(index))
        if lanes not in factors:
            factors[lanes] = f.shuffle(scales, lanes)
        signed = f.const(operand.type, code.zero) - operand if code.zero else operand
        product = signed * factors[lanes]
        made.append(product + zero if zero else product)
    return made
