"""One block of a panel, from packed planes to what the tiles multiply with. Knows the layout, no loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.verbs import Verbs
from kernels.jit.ir import I8, Function, Value, vector


def entry_names(rhs: PlaneRhs, verbs: Verbs) -> tuple[str, ...]:
    """What `unpack` makes for each vector of a panel."""
    return (*operand_names(verbs), "scale", *(["minimum"] if rhs.code.has_min else []))


def operand_names(verbs: Verbs) -> list[str]:
    return [f"operand{step}" for step in range(OPERANDS // verbs.vectors)]


def unpack(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value) -> list[dict[str, Value]]:
    """A block with f16 scales of its own -> for each vector of the panel its entries."""
    scales = column_halves(f, rhs, verbs, block)
    return by_vector(f, verbs, scales, [weights(f, rhs, verbs, operand) for operand in codes(f, rhs, block)])


def by_vector(
    f: Function, verbs: Verbs, shared: dict[str, Value], operands: Sequence[Value] = ()
) -> list[dict[str, Value]]:
    """shared: one element a column."""
    made: list[dict[str, Value]] = [{} for _ in range(verbs.vectors)]
    for name, value in shared.items():
        for vector_, spread in zip(made, verbs.by_vector(f, value), strict=True):
            vector_[name] = spread
    for index, operand in enumerate(operands):
        made[index % verbs.vectors][f"operand{index // verbs.vectors}"] = operand
    return made


def column_halves(f: Function, rhs: PlaneRhs, verbs: Verbs, scales: Value) -> dict[str, Value]:
    """The f16 fields as f32, one element a column."""
    shared = {"scale": verbs.half_to_float(f, scales, 0)}
    if rhs.code.has_min:
        shared["minimum"] = verbs.half_to_float(f, scales, 2 * rhs.nr)
    return shared


def codes(f: Function, rhs: PlaneRhs, block: Value) -> list[Value]:
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


def operands_in_turn(f: Function, rhs: PlaneRhs, verbs: Verbs, block: Value) -> Iterator[tuple[int, Value]]:
    """(index, operand), those of a word of the lowest plane together: for tiles whose registers hold few at a time."""
    code, type_ = rhs.code, vector(rhs.word_bytes, I8)
    words: dict[int, Value] = {}
    for index in [i + step for i in range(code.planes[0]) for step in range(0, OPERANDS, code.planes[0])]:
        found: Value | None = None
        low = first = 0
        for width in code.planes:
            number = first + index % width
            if number not in words:
                words[number] = f.load(type_, block, rhs.scales_bytes + number * rhs.word_bytes)
            bits = _bits(words[number], width, index, low)
            found = bits if found is None else found | bits
            low, first = low + width, first + width
        assert found is not None
        yield index, weights(f, rhs, verbs, found)


def _bits(word: Value, width: int, index: int, low: int) -> Value:
    """An operand's bits of a plane, in their place in the codes."""
    shift = width * (index // width) - low
    if shift:
        word = word >> shift if shift > 0 else word << -shift
    return word & (((1 << width) - 1) << low)


def weights(f: Function, rhs: PlaneRhs, verbs: Verbs, operand: Value) -> Value:
    """Codes as `verbs` multiplies them."""
    code = rhs.code
    if code.table:
        return verbs.lookup(f, operand, [value + verbs.owed(code) for value in code.table])
    return operand - code.zero if code.zero and not verbs.owed(code) else operand
