"""GEMMs of Q6_K on AVX512-VNNI: sums of halves of a block are i16, which one instruction scales and adds.

    half  = start + sum of (x + 128) x w over 16 elements       i32, start = -128 x sum of its w

Paired:
    acc   = (half 1 << 16) + half 0 + 2^15                      2^15 keeps half 0 from borrowing from half 1
    total = total + pair of i16 (acc ^ 2^15) . pair of scales
Apart:
    total = total + pair of i16 (half) . (scale, 0)             for both; what of a half is not i16 meets the 0

Halves fit i16 unless a row is loud (lhs_unsigned): a tile that has such a row is computed row by row with products in
i32, which gives the same integers.

Where each half's sum is multiplied with its scale in i32 and each row corrected for the zero point, a block takes 11
of those instructions that Zen 4 does on two of four pipes; paired 9, with 3 for the other pipes; apart 10. Intel's
cores have two such pipes for everything: 12 and 10. So both are candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from typing import ClassVar, TypeAlias

from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.rungs import PlaneRung
from kernels.families.planes.tile import PlaneTile
from kernels.families.planes.unpack import by_vector, codes, operand_names, weights
from kernels.families.planes.verbs import Entry, Sum, halves_of_pairs
from kernels.families.planes.x86 import PlaneVnni
from kernels.families.supers.gemm import Stretch, SuperGemm
from kernels.families.supers.lhs_unsigned import LOUD, ZERO, UnsignedQsi8d256, emit_pack
from kernels.families.supers.names import super_name
from kernels.families.supers.unpack import Entries, scale_pairs
from kernels.families.variant import MatmulVariant, PackVariant
from kernels.jit.ir import I32, I64, Function, Value, Variable, vector
from kernels.naming import APART
from kernels.quant.super_blocks import SUB_BLOCKS

HALVES = 2
STEPS = (range(OPERANDS // HALVES), range(OPERANDS // HALVES, OPERANDS))
"""Operands of a block, by half."""
SIGN = 1 << 15
"""Of an i16."""


@dataclass(frozen=True, slots=True)
class UnsignedLhsVnni(PlaneVnni):
    """Of the LHS and weights, the LHS is the one without a sign."""

    def owed(self, code: PlaneCode) -> int:
        return 0

    def dot(self, f: Function, code: PlaneCode, total: Sum, weights: Value, lhs: Value, factor: Value | None) -> Sum:
        return PlaneVnni.dot(self, f, code, total, lhs, weights, factor)


def unsigned_gemms(rhs: PlaneRhs, use: PlaneRung) -> list[MatmulVariant]:
    """The static one first."""
    return [_variant(rhs, use, use.tech, _PairedGemm), _variant(rhs, use, use.tech + APART, _ApartGemm)]


def _variant(rhs: PlaneRhs, use: PlaneRung, tech: str, gemm: type[_UnsignedGemm]) -> MatmulVariant:
    lhs, rung = UnsignedQsi8d256(1, rhs.kr), use.rung
    rows, panels = use.gemm
    name = super_name(lhs, rhs, rows, panels, use.engine, tech)
    tile = PlaneTile(name, lhs, rhs, rows, panels, UnsignedLhsVnni(use.verbs.lanes), rung.attributes, use.asks_ahead)
    pack = PackVariant(f"{lhs.pack_name}_{rung.name}", rung, lhs, partial(emit_pack, lhs, rung))
    return MatmulVariant(name, rung, lhs, rhs, pack, partial(_emit, gemm, tile))


def _emit(gemm: type[_UnsignedGemm], tile: PlaneTile) -> str:
    return gemm(tile, tile.function()).text()


Totals: TypeAlias = Sequence[Sequence[Variable]]
"""i32 by [row][vector of columns]"""
AddBlock: TypeAlias = Callable[[Totals, Sequence[Entry], Sequence[Value]], None]
"""(totals, columns, rows of the LHS)"""


class _UnsignedGemm(SuperGemm, ABC):
    """What both share. factor_names: of a block's entries. biases: of starts, by half."""

    factor_names: ClassVar[tuple[str, ...]]
    biases: ClassVar[tuple[int, int]]

    def names_of_block(self) -> list[str]:
        return [*operand_names(self.verbs), "start0", "start1", *self.factor_names]

    def unpacked(self, block: Value) -> Entries:
        f, rhs, verbs = self.f, self.rhs, self.verbs
        pairs = f.cast("bitcast", scale_pairs(f, rhs, block), vector(rhs.nr, I32))
        operands = [weights(f, rhs, verbs, code) for code in codes(f, rhs, block)]
        made = by_vector(f, verbs, self.factors(pairs), operands)
        for entries in made:
            zero = f.const(entries["operand0"].type, -ZERO)
            for half in range(HALVES):
                total = f.zero(self.ints)
                for step in STEPS[half]:
                    total = self._dot(total, entries[f"operand{step}"], zero)
                entries[f"start{half}"] = f.const(self.ints, self.biases[half]) - total
        return made

    def tile_of(self, stretch: Stretch, m0: Value, rows: int) -> None:
        f = self.f
        at = LOUD * self.lhs.scalars_bytes
        loud = reduce(or_, [f.load(I32, source, at, align=4) for source in self.sources(stretch, m0, rows)])
        with f.when(f.compare("eq", loud, 0)):
            self._tile(stretch, m0, rows, self.add)
        with f.when(f.compare("ne", loud, 0)), f.loop(0, f.const(I64, rows)) as row:
            self._tile(stretch, m0 + row, 1, self._add_loud)

    def _tile(self, stretch: Stretch, m0: Value, rows: int, add: AddBlock) -> None:
        f = self.f
        first = self.blocks_of(self.sources(stretch, m0, rows))
        totals = [[f.variable(f.zero(self.ints)) for _ in range(stretch.panels)] for _ in range(rows)]
        with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
            columns = self.entries(f.offset(self.scratch, b * self.block_bytes), self.block_names, stretch.panels)
            add(totals, columns, [f.offset(row, b * self.lhs.block_bytes) for row in first])
        self.finish(stretch, m0, rows, [[total.get() for total in of_row] for of_row in totals])

    def _add_loud(self, totals: Totals, columns: Sequence[Entry], lhs: Sequence[Value]) -> None:
        """Of rows whose sums may want 17 bits."""
        factors = [self.i32_factors(entry) for entry in columns]
        for half in range(HALVES):
            starts = [entry(f"start{half}") - self.biases[half] for entry in columns]
            for of_row, found in zip(totals, self.half(half, [starts for _ in lhs], columns, lhs), strict=True):
                for total, value, factor in zip(of_row, found, factors, strict=True):
                    total.set(total.get() + value * factor[half])

    def half(
        self, half: int, sums: Sequence[Sequence[Value]], columns: Sequence[Entry], lhs: Sequence[Value]
    ) -> Sequence[Sequence[Value]]:
        """The products of half a block added, by [row][vector of columns]."""
        for step in STEPS[half]:
            operands = [entry(f"operand{step}") for entry in columns]
            rows = self.operands(lhs, len(lhs), step)
            sums = [
                [self._dot(total, operand, row) for total, operand in zip(of_row, operands, strict=True)]
                for of_row, row in zip(sums, rows, strict=True)
            ]
        return sums

    @abstractmethod
    def factors(self, pairs: Value) -> dict[str, Value]:
        """Of a block, from pairs of i16, one element a column."""

    @abstractmethod
    def i32_factors(self, entry: Entry) -> tuple[Value, Value]:
        """By half."""

    @abstractmethod
    def add(self, totals: Totals, columns: Sequence[Entry], lhs: Sequence[Value]) -> None:
        """A block's products, of rows none of which is loud."""

    def _dot(self, total: Value, operand: Value, lhs: Value) -> Value:
        (part,) = self.verbs.dot(self.f, self.code, Sum(parts=(total,)), operand, lhs, None).parts
        return part

    @property
    def ints(self) -> str:
        return vector(self.verbs.lanes, I32)


class _PairedGemm(_UnsignedGemm):
    factor_names = ("pair",)
    biases = (SIGN, 0)

    def factors(self, pairs: Value) -> dict[str, Value]:
        return {"pair": pairs}

    def i32_factors(self, entry: Entry) -> tuple[Value, Value]:
        return halves_of_pairs(self.f, entry("pair"))

    def add(self, totals: Totals, columns: Sequence[Entry], lhs: Sequence[Value]) -> None:
        f = self.f
        lower, upper = ([entry(f"start{half}") for entry in columns] for half in range(HALVES))
        sums = self.half(1, [upper for _ in lhs], columns, lhs)
        sums = [[(total << 16) + start for total, start in zip(of_row, lower, strict=True)] for of_row in sums]
        pairs = [entry("pair") for entry in columns]
        sign = f.const(self.ints, SIGN)
        for of_row, found in zip(totals, self.half(0, sums, columns, lhs), strict=True):
            for total, both, pair in zip(of_row, found, pairs, strict=True):
                total.set(self.verbs.pair_dots(f, total.get(), [(f.exclusive_or(both, sign), pair)]))


class _ApartGemm(_UnsignedGemm):
    factor_names = ("factor0", "factor1")
    biases = (0, 0)

    def factors(self, pairs: Value) -> dict[str, Value]:
        """(scale, 0)"""
        return {"factor0": pairs & 0xFFFF, "factor1": pairs >> 16}

    def i32_factors(self, entry: Entry) -> tuple[Value, Value]:
        first, last = (halves_of_pairs(self.f, entry(name))[0] for name in self.factor_names)
        return first, last

    def add(self, totals: Totals, columns: Sequence[Entry], lhs: Sequence[Value]) -> None:
        for half, name in enumerate(self.factor_names):
            starts = [entry(f"start{half}") for entry in columns]
            factors = [entry(name) for entry in columns]
            for of_row, found in zip(totals, self.half(half, [starts for _ in lhs], columns, lhs), strict=True):
                for total, value, factor in zip(of_row, found, factors, strict=True):
                    total.set(self.verbs.pair_dots(self.f, total.get(), [(value, factor)]))
