"""Records of the plane families: codes freed of their zero point, scales as f32. Knows no loop.

Scales per 16 are integers. Where weights times their scale are bytes, those are the operands, and a block has one sum:

    Q2_K    sc x q, up to 45
    Q3_K    -sc x q, within -124 .. 128: negated to fit, as the f32 scale above it is

Q6_K's halves are summed apart: sc0 x sum0 + sc1 x sum1, below 2^24, is exact in f32 as it is in i32.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.amx.pipeline import COLUMNS, RowScalars
from kernels.families.planes.code import PlaneCode
from kernels.families.planes.rhs import OPERANDS, PlaneRhs
from kernels.families.planes.tile import DSUM, SUMS, D
from kernels.families.planes.unpack import unpack
from kernels.families.planes.verbs import SUB16, as_pairs
from kernels.families.planes.x86 import PlaneVnni
from kernels.jit.ir import F32, I8, I32, Function, Value, vector
from kernels.jit.masked import FLOATS, INTS
from kernels.jit.tiles import ROW_BYTES

BYTE_CODES = 7
"""The largest code whose products with scales per 16 are bytes."""


@dataclass(frozen=True, slots=True)
class _SignedVerbs(PlaneVnni):
    """Operands are the weights themselves: nothing is owed."""

    lanes: int = COLUMNS

    def owed(self, code: PlaneCode) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class PlaneRecords:
    rhs: PlaneRhs

    @property
    def halves(self) -> int:
        return 2 if self._has_sub16 and not self._has_products else 1

    @property
    def block_bytes(self) -> int:
        return self.rhs.block_bytes

    @property
    def record_bytes(self) -> int:
        return (OPERANDS + len(self._entries)) * ROW_BYTES

    @property
    def _has_sub16(self) -> bool:
        return self.rhs.code.sub == SUB16

    @property
    def _has_products(self) -> bool:
        """Of weights and scales per 16, as operands."""
        return self._has_sub16 and self.rhs.code.largest <= BYTE_CODES

    @property
    def _is_negated(self) -> bool:
        return self._has_products and self.rhs.code.zero > 0

    @property
    def _entries(self) -> tuple[str, ...]:
        has_min = self.rhs.code.has_min
        names = ["scale"] + ["minimum"] * has_min
        return (*names, *["sub0", "sub1"] * (self.halves == 2), *["mins"] * (has_min and self._has_sub16))

    def panel_bytes(self, num_blocks: Value) -> Value:
        return self.rhs.emit_panel_bytes(num_blocks)

    def unpack(self, f: Function, panel: Value, index: Value, record: Value) -> None:
        scales, block = self.rhs.emit_block(f, panel, index)
        (made,) = unpack(f, self.rhs, _SignedVerbs(), scales, block)
        if self._is_negated:
            made |= {"scale": f.zero(FLOATS) - made["scale"]}
            made |= {name: f.zero(INTS) - made[name] for name in ("sub0", "sub1")}
        for step in range(OPERANDS):
            weights = made[f"operand{step}"]
            if self._has_products:
                weights = _byte_products(f, weights, made["sub0" if step < OPERANDS // 2 else "sub1"])
            f.store(weights, record, step * ROW_BYTES, align=64)
        for name in self._entries:
            value = f.cast("sitofp", made[name], FLOATS) if name.startswith("sub") else made[name]
            f.store(value, record, self._at(name), align=64)

    def _at(self, name: str) -> int:
        return (OPERANDS + self._entries.index(name)) * ROW_BYTES

    def scaled(self, f: Function, sums: list[Value], row: RowScalars, record: Value, acc: Value) -> Value:
        def entry(name: str, type_: str = FLOATS) -> Value:
            return f.load(type_, record, self._at(name), align=64)

        d = row.field(D, F32)
        total = sums[0] if self.halves == 1 else f.fma(sums[0], entry("sub0"), sums[1] * entry("sub1"))
        value = f.fma(total, d * entry("scale"), acc)
        if not self.rhs.code.has_min:
            return value
        if not self._has_sub16:
            return f.fma(entry("minimum"), row.field(DSUM, F32), value)
        mins = _SignedVerbs().pair_dot(f, entry("mins", vector(COLUMNS, I32)), row.field(SUMS, I32))
        return f.fma(f.cast("sitofp", mins, FLOATS), d * entry("minimum"), value)


def _byte_products(f: Function, weights: Value, scales: Value) -> Value:
    """weights: i8[columns x 4], scales: i32[columns] -> i8, what a product exceeds a byte by is lost."""
    pairs, factors = as_pairs(f, weights, COLUMNS), as_pairs(f, scales & 0xFFFF | scales << 16, COLUMNS)
    low, high = pairs * factors, (pairs >> 8) * factors
    return f.cast("bitcast", low & 0xFF | high << 8, vector(ROW_BYTES, I8))
