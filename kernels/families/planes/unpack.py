"""One block of a panel, from packed planes to what the tiles multiply with. Knows the layout, no loop."""

from __future__ import annotations

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
    made: list[dict[str, Value]] = [{} for _ in range(verbs.vectors)]
    for name, value in shared.items():
        for vector_, spread in zip(made, verbs.by_vector(f, value), strict=True):
            vector_[name] = spread
    for index, operand in enumerate(_operands(f, rhs, verbs, block)):
        made[index % verbs.vectors][f"operand{index // verbs.vectors}"] = operand
    return made


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
        mask = (1 << width) - 1
        words = [f.load(type_, block, rhs.scales_bytes + (first + i) * rhs.word_bytes) for i in range(width)]
        for index in range(OPERANDS):
            shift = width * (index // width) - low
            bits = words[index % width]
            if shift:
                bits = bits >> shift if shift > 0 else bits << -shift
            bits = bits & (mask << low)
            made = [*made[:index], made[index] | bits, *made[index + 1 :]] if low else [*made, bits]
        low, first = low + width, first + width
    if code.table:
        return [verbs.lookup(f, codes, [value + verbs.owed(code) for value in code.table]) for codes in made]
    return [codes - code.zero for codes in made] if code.zero and not verbs.owed(code) else made
