"""What GEMM and GEMV of super-blocks share: where their sums start, a block's products, and the float steps in the end.

    sum  = owed + sum over blocks of sub-scale x products        i32
    mins = sum over the sums fields of minima x sums             i32
    acc  = fma(d_lhs, fma(f32(mins), dmin, f32(sum) x d), acc)

Integers are exact, whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kernels.families.planes.tile import Emission
from kernels.families.planes.verbs import Entry, Sum
from kernels.families.supers.lhs import Qsi8d256
from kernels.families.supers.unpack import mins_fields, num_factors, owed_fields
from kernels.jit.ir import I16, I32, Value, Variable, vector


class SuperEmission(Emission):
    @property
    def rows_layout(self) -> Qsi8d256:
        assert isinstance(self.lhs, Qsi8d256)
        return self.lhs

    def blocks_of(self, lhs: Sequence[Value]) -> list[Value]:
        """Where the first blocks of super-blocks lie."""
        return [self.f.offset(panel, self.rows_layout.header_bytes) for panel in lhs]

    def sums(self, lhs: Sequence[Value], rows: int, fields: range) -> list[list[Value]]:
        """Pairs of i16 by [field][unit of rows]."""
        return [self.scalars(lhs, rows, field, I32) for field in fields]

    def starts(self, lhs: Sequence[Value], rows: int, columns: Sequence[Entry]) -> list[list[Sum]]:
        """By [unit of rows][vector of columns]."""
        f, verbs, code = self.f, self.verbs, self.code
        fields = owed_fields(verbs, code)
        sums = self.sums(lhs, rows, fields)
        made = []
        for u in range(self.num_units(lhs, rows)):
            of_unit = [by_field[u] for by_field in sums]
            made.append([verbs.start(f, code, self._owed(entry, fields, of_unit)) for entry in columns])
        return made

    def _owed(self, entry: Entry, fields: range, sums: Sequence[Value]) -> Value | None:
        if not fields:
            return None
        if self.code.sub:
            pairs = [(entry(f"owed{i}"), s) for i, s in zip(fields, sums, strict=True)]
        else:
            lanes = 2 * self.verbs.lanes
            zero = self.f.cast("bitcast", self.f.const(vector(lanes, I16), -self.code.zero), vector(lanes // 2, I32))
            pairs = [(zero, s) for s in sums]
        return self.verbs.pair_dots(self.f, None, pairs)

    def add_block(
        self,
        totals: list[list[Sum]],
        columns: Sequence[Entry],
        steps: int,
        operands: Callable[[int], Sequence[Value]],
    ) -> None:
        """A block's products. operands: of a step, the LHS of each unit of rows."""
        f, verbs, code = self.f, self.verbs, self.code
        parts = max(1, num_factors(code))
        for part in range(parts):
            factors = [entry(f"sub{part}") if num_factors(code) else None for entry in columns]
            for step in range(part * steps // parts, (part + 1) * steps // parts):
                weights = [entry(f"operand{step}") for entry in columns]
                for u, operand in enumerate(operands(step)):
                    for c, weight in enumerate(weights):
                        total = verbs.dot(f, code, totals[u][c], weight, operand, factors[c])
                        totals[u][c] = verbs.pinned(f, total)
            for of_unit in totals:
                of_unit[:] = [
                    verbs.end_scale(f, code, total, factor) for total, factor in zip(of_unit, factors, strict=True)
                ]

    def add_row(self, total: Sum, entry: Entry, row: Sequence[Value]) -> Sum:
        """A block's products of one row and one vector of columns."""
        totals = [[total]]
        self.add_block(totals, [entry], len(row), lambda step: [row[step]])
        return totals[0][0]

    def mins(self, entry: Entry, sums: Sequence[Value]) -> Value | None:
        """i32, of one vector of columns and one unit of rows. sums: the fields of the minima."""
        fields = mins_fields(self.rhs)
        pairs = [(entry(f"mins{i}"), s) for i, s in zip(fields, sums, strict=True)]
        return self.verbs.pair_dots(self.f, None, pairs) if pairs else None

    def finished(self, total: Value, mins: Value | None, entry: Entry, d: Value, acc: Value) -> Value:
        """The float steps of one vector of columns and one unit of rows."""
        f = self.f
        value = f.cast("sitofp", total, self.floats) * entry("scale")
        if mins is not None:
            value = f.fma(f.cast("sitofp", mins, self.floats), entry("minimum"), value)
        return f.fma(d, value, acc)


class CarriedSums:
    """Sums that a loop over blocks carries from turn to turn."""

    def __init__(self, emission: Emission, totals: Sequence[Sequence[Sum]]) -> None:
        f = emission.f
        self._whole = emission.code.sub > 0 or totals[0][0].total is not None
        self._variables = [[[f.variable(v) for v in self._values(total)] for total in unit] for unit in totals]

    def _values(self, total: Sum) -> tuple[Value, ...]:
        if not self._whole:
            return total.parts
        assert total.total is not None
        assert not total.parts, "between blocks nothing is in flight"
        return (total.total,)

    def get(self) -> list[list[Sum]]:
        values = [[tuple(v.get() for v in total) for total in unit] for unit in self._variables]
        return [[Sum(total=total[0]) if self._whole else Sum(parts=total) for total in unit] for unit in values]

    def set(self, totals: Sequence[Sequence[Sum]]) -> None:
        for variables, unit in zip(self._variables, totals, strict=True):
            for of_total, total in zip(variables, unit, strict=True):
                _set_all(of_total, self._values(total))


def _set_all(variables: Sequence[Variable], values: Sequence[Value]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.set(value)
