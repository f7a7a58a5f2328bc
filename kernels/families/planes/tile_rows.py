"""What the GEMMs of planes do with rows: tiles of them, those that are left, accumulators that rest in dst."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kernels.families.planes.tile import Emission
from kernels.jit.ir import F32, Function, Value

TileRows = Callable[[Value, int], None]
"""(m0, rows): writes one tile."""


def each_tile(emission: Emission, tile: TileRows) -> None:
    """Tiles of all rows of the portion, the one that is left over with fewer."""
    f, rows = emission.f, emission.tile.rows
    rest = f.remainder(f["m"], rows)
    full = f["m"] - rest
    with f.loop(0, full, rows) as m0:
        tile(m0, rows)
    for few in range(1, rows):
        with f.when(f.compare("eq", rest, few)):
            tile(full, few)


def lhs_panels(emission: Emission, m0: Value, rows: int, offset: Value) -> list[Value]:
    """Where the tile's rows begin, `offset` bytes into their panels."""
    f, lhs = emission.f, emission.lhs
    first = f.offset(f["lhs"], f.divide_exactly(m0, lhs.mr) * emission.lhs_panel_bytes + offset)
    return [f.offset(first, emission.lhs_panel_bytes * p) for p in range(-(-rows // lhs.mr))]


def row_addresses(emission: Emission, m0: Value, n0: Value, rows: int) -> list[Value]:
    """In dst."""
    f = emission.f
    return [f.offset(f["dst"], (m0 + r) * f["dst_stride"] + (n0 << 2)) for r in range(rows)]


def zero_columns(emission: Emission) -> Value:
    """Where a row of a tile finds zeros, for the first stretch of K."""
    f, lanes = emission.f, emission.verbs.lanes
    num_columns = emission.tile.panels * emission.rhs.nr
    place = f.stack(4 * num_columns)
    for at in range(0, num_columns, lanes):
        f.store(f.zero(emission.floats), place, 4 * at, align=4)
    return place


def load_units(
    emission: Emission, outs: Sequence[Value], left: Value, is_first: Value, zeros: Value, panels: int
) -> list[list[Value]]:
    """f32 by [unit of rows][vector of columns]: what rests in dst, first `zeros`."""
    f, verbs, zero = emission.f, emission.verbs, emission.f.zero(emission.floats)
    places = [f.select(is_first, zeros, out) for out in outs]
    rows = [_load_columns(f, place, panels, emission.floats, verbs.lanes, left) for place in places]
    rows += [[zero] * panels] * (-len(rows) % verbs.rows)
    units = []
    for u in range(0, len(rows), verbs.rows):
        parts = [verbs.by_row(f, [rows[u + r][p] for r in range(verbs.rows)]) for p in range(panels)]
        units.append([value for part in parts for value in part])
    return units


def store_units(
    emission: Emission, outs: Sequence[Value], units: Sequence[Sequence[Value]], left: Value, is_last: Value
) -> None:
    """Clamped where K ends."""
    f, verbs = emission.f, emission.verbs
    results = [[f.variable(value) for value in unit] for unit in units]
    with f.when(is_last):
        for result in [result for unit in results for result in unit]:
            result.set(f.clamp(result.get(), f["lo"], f["hi"]))
    for u, unit in enumerate(results):
        panels = [unit[i : i + verbs.vectors] for i in range(0, len(unit), verbs.vectors)]
        of_panels = [verbs.by_row(f, [result.get() for result in panel]) for panel in panels]
        for r, out in enumerate(outs[u * verbs.rows : (u + 1) * verbs.rows]):
            f.store_columns(out, [rows[r] for rows in of_panels], left)


def _load_columns(f: Function, out: Value, count: int, type_: str, lanes: int, left: Value) -> list[Value]:
    """`count` consecutive f32 vectors at `out`, but no more than `left` elements; the others are any value."""
    width = count * lanes
    source, beside = f.variable(out), f.stack(4 * width)
    with f.when(f.compare("slt", left, width)):
        source.set(beside)
        with f.loop(0, left) as c:
            f.store(f.load(F32, out, c << 2, align=4), beside, c << 2, align=4)
    return [f.load(type_, source.get(), 4 * lanes * v, align=4) for v in range(count)]
