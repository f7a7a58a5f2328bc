"""One block of a panel, from packed planes to what the tiles multiply with. Knows the layout, no loop."""

from __future__ import annotations

from collections.abc import Iterator

from kernels.families.planes.code import SUB16, PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.verbs import Verbs
from kernels.jit.ir import F32, I8, I16, I32, Function, Value, vector
from kernels.quant.fields import BLOCK


def entry_names(rhs: PlaneRhs, verbs: Verbs, code: PlaneCode) -> tuple[str, ...]:
    """What `unpack` makes for each vector of a panel."""
    names = [*(f"operand{step}" for step in range(OPERANDS // verbs.vectors)), "scale"]
    if code.has_min:
        names.append("minimum")
    if code.sub == SUB16:
        names += ["sub0", "sub1"]
        names += ["owed"] if verbs.owed(code) else []
    if rhs.code.has_mins16:
        names.append("mins")
    return tuple(names)


def unpack(
    f: Function, rhs: PlaneRhs, verbs: Verbs, scales: Value, block: Value, code: PlaneCode
) -> list[dict[str, Value]]:
    """`scales`: address of the f16 fields over the block. `code`: of the operands, the layout's own or `multiplied`.

    -> for each vector of the panel its entries
    """
    made: list[dict[str, Value]] = [{} for _ in range(verbs.vectors)]
    for name, value in column_scales(f, rhs, verbs, scales, block, code).items():
        for vector_, spread in zip(made, verbs.by_vector(f, value), strict=True):
            vector_[name] = spread
    codes = _codes(f, rhs, block)
    if code == rhs.code:
        operands = [_weights(f, rhs, verbs, operand) for operand in codes]
    else:
        operands = _multiplied(f, rhs, codes, block, code.zero)
    for index, operand in enumerate(operands):
        made[index % verbs.vectors][f"operand{index // verbs.vectors}"] = operand
    return made


def column_scales(
    f: Function, rhs: PlaneRhs, verbs: Verbs, scales: Value, block: Value, code: PlaneCode
) -> dict[str, Value]:
    """The entries of a panel but for the operands: one element a column."""
    shared = {"scale": verbs.half_to_float(f, scales, 0)}
    if code.has_min:
        shared["minimum"] = verbs.half_to_float(f, scales, 2 * rhs.nr)
    if code.sub == BLOCK:
        for name, offset in (("scale", 0), ("minimum", rhs.nr)):
            if name in shared:
                shared[name] = shared[name] * _bytes_to_float(f, rhs, block, offset)
    if code.sub == SUB16:
        shared |= verbs.sub_scales(f, code, _sub_scales(f, rhs, block))
    elif rhs.code.sub == SUB16 and rhs.code.zero:
        shared["scale"] = f.zero(vector(rhs.nr, F32)) - shared["scale"]  # of negated products
    if rhs.code.has_mins16:
        shared["mins"] = f.cast("bitcast", _sub_bytes(f, rhs, block, "zext") >> 4, vector(rhs.nr, I32))
    return shared


def _bytes_to_float(f: Function, rhs: PlaneRhs, block: Value, offset: int) -> Value:
    """Unsigned; of at most 6 bits, so that the signed conversion holds."""
    loaded = f.cast("zext", f.load(vector(rhs.nr, I8), block, offset), vector(rhs.nr, I32))
    return f.cast("sitofp", loaded, vector(rhs.nr, F32))


def _sub_bytes(f: Function, rhs: PlaneRhs, block: Value, extension: str) -> Value:
    """Two bytes a column as i16."""
    return f.cast(extension, f.load(vector(2 * rhs.nr, I8), block), vector(2 * rhs.nr, I16))


def _sub_scales(f: Function, rhs: PlaneRhs, block: Value) -> Value:
    """Two scales a column, i16."""
    return _sub_bytes(f, rhs, block, "zext") & 15 if rhs.code.has_min else _sub_bytes(f, rhs, block, "sext")


def _codes(f: Function, rhs: PlaneRhs, block: Value) -> list[Value]:
    """The bits of all planes put together, operand by operand."""
    code, type_ = rhs.code, vector(rhs.word_bytes, I8)
    made: list[Value] = []
    low = first = 0
    for width in code.planes:
        words = [f.load(type_, block, rhs.scales_bytes + (first + i) * rhs.word_bytes) for i in range(width)]
        for index in range(OPERANDS):
            bits = _bits(words[index % width], width, index, low)
            made = [*made[:index], made[index] | bits, *made[index + 1 :]] if low else [*made, bits]
        low, first = low + width, first + width
    return made


def _multiplied(f: Function, rhs: PlaneRhs, codes: list[Value], block: Value, zero: int) -> list[Value]:
    """Weights times their scales per 16, negated where the code has a zero point, plus `zero`: modulo 256."""
    code = rhs.code
    scales = f.load(vector(2 * rhs.nr, I8), block)
    if code.has_min:
        scales = scales & 15
    factors: dict[tuple[int, ...], Value] = {}
    made = []
    for index, operand in enumerate(codes):
        lanes = tuple(2 * column + 2 * index // OPERANDS for column in rhs.operand_columns(index))
        if lanes not in factors:
            factors[lanes] = f.shuffle(scales, lanes)
        weights = f.const(operand.type, code.zero) - operand if code.zero else operand
        product = weights * factors[lanes]
        made.append(product + zero if zero else product)
    return made


def operands_in_turn(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value) -> Iterator[tuple[int, Value]]:
    """(index, operand), those of a word of the lowest plane together: for tiles whose registers hold few at a time."""
    code, type_ = rhs.code, vector(rhs.word_bytes, I8)
    words: dict[int, Value] = {}
    for index in [i + step for i in range(code.planes[0]) for step in range(0, OPERANDS, code.planes[0])]:
        codes: Value | None = None
        low = first = 0
        for width in code.planes:
            number = first + index % width
            if number not in words:
                words[number] = f.load(type_, block, rhs.scales_bytes + number * rhs.word_bytes)
            bits = _bits(words[number], width, index, low)
            codes = bits if codes is None else codes | bits
            low, first = low + width, first + width
        assert codes is not None
        yield index, _weights(f, rhs, verbs, codes)


def _bits(word: Value, width: int, index: int, low: int) -> Value:
    """An operand's bits of a plane, in their place in the codes."""
    shift = width * (index // width) - low
    if shift:
        word = word >> shift if shift > 0 else word << -shift
    return word & (((1 << width) - 1) << low)


def _weights(f: Function, rhs: PlaneRhs, verbs: Verbs, codes: Value) -> Value:
    code = rhs.code
    if code.table:
        return verbs.lookup(f, codes, [value + verbs.owed(code) for value in code.table])
    return codes - code.zero if code.zero and not verbs.owed(code) else codes
