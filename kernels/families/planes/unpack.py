"""One block of a panel, from packed planes to what the tiles multiply with. Knows the layout, no loop."""

from __future__ import annotations

from collections.abc import Iterator

from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.verbs import SUB16, Verbs
from kernels.jit.ir import F32, I8, I32, Function, Value, vector
from kernels.quant.fields import BLOCK


def entry_names(rhs: PlaneRhs, verbs: Verbs) -> tuple[str, ...]:
    """What `unpack` makes for each vector of a panel."""
    code = rhs.code
    names = [*(f"operand{step}" for step in range(OPERANDS // verbs.vectors)), "scale"]
    if code.has_min:
        names.append("minimum")
    if code.sub == SUB16:
        names += ["sub0", "sub1"]
        names += ["owed"] if verbs.owed(code) else []
        names += ["mins"] if code.has_min else []
    return tuple(names)


def unpack(f: Function, rhs: PlaneRhs, verbs: Verbs, scales: Value, block: Value) -> list[dict[str, Value]]:
    """`scales`: address of the f16 fields over the block. -> for each vector of the panel its entries."""
    made: list[dict[str, Value]] = [{} for _ in range(verbs.vectors)]
    for name, value in column_scales(f, rhs, verbs, scales, block).items():
        for vector_, spread in zip(made, verbs.by_vector(f, value), strict=True):
            vector_[name] = spread
    for index, operand in enumerate(_operands(f, rhs, verbs, block)):
        made[index % verbs.vectors][f"operand{index // verbs.vectors}"] = operand
    return made


def column_scales(f: Function, rhs: PlaneRhs, verbs: Verbs, scales: Value, block: Value) -> dict[str, Value]:
    """The entries of a panel but for the operands: one element a column."""
    code = rhs.code
    shared = {"scale": verbs.half_to_float(f, scales, 0)}
    if code.has_min:
        shared["minimum"] = verbs.half_to_float(f, scales, 2 * rhs.nr)
    if code.sub == BLOCK:
        for name, offset in (("scale", 0), ("minimum", rhs.nr)):
            if name in shared:
                shared[name] = shared[name] * _bytes_to_float(f, rhs, block, offset)
    if code.sub == SUB16:
        shared |= _sub_scales(f, rhs, verbs, block)
    return shared


def _bytes_to_float(f: Function, rhs: PlaneRhs, block: Value, offset: int) -> Value:
    """Unsigned; of at most 6 bits, so that the signed conversion holds."""
    loaded = f.cast("zext", f.load(vector(rhs.nr, I8), block, offset), vector(rhs.nr, I32))
    return f.cast("sitofp", loaded, vector(rhs.nr, F32))


def _sub_scales(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value) -> dict[str, Value]:
    loaded = f.load(vector(2 * rhs.nr, I8), block)
    words, lanes = vector(2 * rhs.nr, "i16"), vector(rhs.nr, I32)
    if not rhs.code.has_min:
        return verbs.sub_scales(f, rhs.code, f.cast("sext", loaded, words))
    both = f.cast("zext", loaded, words)
    return {**verbs.sub_scales(f, rhs.code, both & 15), "mins": f.cast("bitcast", both >> 4, lanes)}


def _operands(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value) -> list[Value]:
    """The bits of all planes put together, then looked up or freed of the zero point as the verbs want it."""
    code, type_ = rhs.code, vector(rhs.word_bytes, I8)
    made: list[Value] = []
    low = first = 0
    for width in code.planes:
        words = [f.load(type_, block, rhs.scales_bytes + (first + i) * rhs.word_bytes) for i in range(width)]
        for index in range(OPERANDS):
            bits = _bits(words[index % width], width, index, low)
            made = [*made[:index], made[index] | bits, *made[index + 1 :]] if low else [*made, bits]
        low, first = low + width, first + width
    return [_weights(f, rhs, verbs, codes) for codes in made]


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
