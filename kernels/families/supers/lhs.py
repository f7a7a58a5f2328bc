"""qsi8d256p: activations as int8 with one f32 scale per row and 256 elements of K. Layout, NumPy twin, emitter.

    panel of mr rows, per super-block of 256:
    | d: mr f32 | 4 x sums32: mr x 2 i16 | 8 x sums16: mr x 2 i16 | to 16 bytes | 8 x block |
    its block of 32:  32/kr groups x mr rows x kr int8

Field i of `sums32` holds sum(q) of the blocks 2i and 2i + 1, field b of `sums16` those of block b's halves: what minima
and zero points are multiplied with. With `repeat` 2 each scalar stands twice (for 2x2 tiles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from kernels.families.block32 import lhs_tile
from kernels.families.block32.integer_panel import IntegerPanel
from kernels.families.block32.lhs import maximum_lane, quantise
from kernels.families.block32.lhs_lanes import quantised, scales, two_i16
from kernels.jit.ir import F32, I8, I16, I32, I64, PTR, Function, Value, vector
from kernels.jit.vector_math import maximum
from kernels.ladder import Rung
from kernels.quant.fields import BLOCK
from kernels.quant.super_blocks import SUB_BLOCKS, SUPER_BLOCK

D, SUMS32, SUMS16 = 0, 1, 5  # scalar fields


@dataclass(frozen=True, slots=True)
class Qsi8d256(IntegerPanel):
    """One packed layout of the LHS."""

    scheme: ClassVar[str] = "qsi8d256"
    num_scalars: ClassVar[int] = SUMS16 + SUB_BLOCKS

    @property
    def block_bytes(self) -> int:
        return BLOCK * self.mr

    @property
    def super_bytes(self) -> int:
        return self.header_bytes + SUB_BLOCKS * self.block_bytes

    @property
    def part_elements(self) -> int:
        return SUPER_BLOCK

    @property
    def part_bytes(self) -> int:
        return self.super_bytes

    def panel_bytes(self, k: int) -> int:
        return k // SUPER_BLOCK * self.super_bytes

    def emit_panel_bytes(self, num_blocks: Value) -> Value:
        return (num_blocks >> 3) * self.super_bytes

    def emit_block_offset(self, index: Value) -> Value:
        """Of a panel's block."""
        return (index >> 3) * self.super_bytes + (index & 7) * self.block_bytes + self.header_bytes

    def pack(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """x: f32[M, K] -> u8[ceil(M / mr), K/256, super_bytes]; rows past M are zeros."""
        num_panels = -(-x.shape[0] // self.mr)
        rows = np.zeros((num_panels * self.mr, x.shape[1]), np.float32)
        rows[: x.shape[0]] = x
        d, q = quantise(rows, SUPER_BLOCK)
        sums16 = q.reshape(*q.shape[:2], SUB_BLOCKS, 2, BLOCK // 2).sum(-1, dtype=np.int16)
        sums32 = sums16.sum(-1, dtype=np.int16).reshape(*q.shape[:2], SUB_BLOCKS // 2, 2)
        scalars = [np.ascontiguousarray(sums).view(np.float32)[..., 0] for sums in (sums32, sums16)]
        fields = np.concatenate([d[..., None], *scalars], axis=-1)  # [M, S, field]
        of_panels = fields.reshape(num_panels, self.mr, -1, self.num_scalars).transpose(0, 2, 3, 1)
        header = np.ascontiguousarray(np.repeat(of_panels, self.repeat, axis=-1)).view(np.uint8)
        groups = q.reshape(num_panels, self.mr, d.shape[1], SUPER_BLOCK // self.kr, self.kr).transpose(0, 2, 3, 1, 4)
        quants = np.ascontiguousarray(groups).view(np.uint8)
        parts = [part.reshape(num_panels, d.shape[1], -1) for part in (header, quants)]
        padding = np.zeros((*parts[0].shape[:2], self.header_bytes - parts[0].shape[-1]), np.uint8)
        parts.insert(1, padding)
        return np.ascontiguousarray(np.concatenate(parts, axis=-1))


TILE_LAYOUT = Qsi8d256(mr=lhs_tile.ROWS, kr=BLOCK)


def emit_pack(layout: Qsi8d256, rung: Rung) -> str:
    """IR of `pack(m, k, src, src_stride_bytes, dst)`; exact twin of `Qsi8d256.pack` for finite rows."""
    arguments = [("m", I64), ("k", I64), ("src", PTR), ("src_stride", I64), ("dst", PTR)]
    f = Function(f"{layout.pack_name}_{rung.name}", arguments, rung.attributes)
    num_supers, num_rows = f["k"] >> 8, f["m"]
    if layout == TILE_LAYOUT and "avx512vnni" in rung.needs:
        is_whole = f.compare("eq", num_rows, lhs_tile.ROWS)
        with f.when(is_whole):
            rows = [f.offset(f["src"], f["src_stride"] * row) for row in range(lhs_tile.ROWS)]
            with f.loop(0, num_supers) as index:
                _emit_tile(f, layout, rows, index << 10, f.offset(f["dst"], index * layout.super_bytes))
        num_rows = f.select(is_whole, f.const(I64, 0), num_rows)
    with f.loop(0, num_rows) as row:
        source = f.offset(f["src"], row * f["src_stride"])
        # With mr = 1 consecutive rows are consecutive panels; otherwise a row is a lane of the only panel.
        panel = f.offset(f["dst"], row * (num_supers * layout.super_bytes)) if layout.mr == 1 else f["dst"]
        lane = f.const(I64, 0) if layout.mr == 1 else row
        with f.loop(0, num_supers) as index:
            into = f.offset(panel, index * layout.super_bytes)
            _emit_row(f, layout, f.offset(source, index << 10), into, lane)
    f.ret()
    return f.text()


def largest_magnitude(f: Function, source: Value) -> Value:
    """Of a super-block."""
    floats = vector(BLOCK, F32)
    most = f.variable(f.zero(floats))
    with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
        magnitude = f.call("llvm.fabs.v32f32", floats, f.load(floats, f.offset(source, b << 7), align=4))
        most.set(maximum(f, magnitude, most.get()))
    return maximum_lane(f, most.get())


def _emit_row(f: Function, layout: Qsi8d256, source: Value, into: Value, lane: Value) -> None:
    """One row's super-block."""
    floats = vector(BLOCK, F32)
    d, inverse = scales(f, largest_magnitude(f, source))
    scalar = f.offset(into, lane * (4 * layout.repeat))
    _store_scalar(f, layout, scalar, f.const(I64, 0), d)
    row = f.offset(f.offset(into, lane * layout.kr), layout.header_bytes)
    last = f.variable(f.const(I32, 0))  # sum of the block before
    with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
        x = f.load(floats, f.offset(source, b << 7), align=4)
        (q,) = quantised(f, [x], f.splat(inverse, floats))
        bytes_ = f.cast("trunc", q, vector(BLOCK, I8))
        shorts = f.cast("trunc", q, vector(BLOCK, I16))
        halves = [_sum(f, f.shuffle(shorts, range(first, first + BLOCK // 2))) for first in (0, BLOCK // 2)]
        _store_scalar(f, layout, scalar, (b + SUMS16) * layout.scalars_bytes, two_i16(*halves))
        total = halves[0] + halves[1]
        with f.when(f.compare("eq", b & 1, 1)):
            pair = two_i16(last.get(), total)
            _store_scalar(f, layout, scalar, ((b >> 1) + SUMS32) * layout.scalars_bytes, pair)
        last.set(total)
        at = f.offset(row, b * layout.block_bytes)
        for group in range(1 if layout.mr == 1 else BLOCK // layout.kr):
            width = BLOCK if layout.mr == 1 else layout.kr
            f.store(f.shuffle(bytes_, range(group * width, (group + 1) * width)), at, layout.group_offset(group))


def _sum(f: Function, shorts: Value) -> Value:
    """i16[16] -> i32"""
    return f.cast("sext", f.call("llvm.vector.reduce.add.v16i16", I16, shorts), I32)


def _store_scalar(f: Function, layout: Qsi8d256, scalar: Value, offset: Value, value: Value) -> None:
    for copy in range(layout.repeat):
        f.store(value, f.offset(scalar, 4 * copy), offset, align=4)


def _emit_tile(f: Function, layout: Qsi8d256, sources: list[Value], offset: Value, into: Value) -> None:
    """16 rows' super-block, `offset` bytes into each; a lane a row."""
    most = f.variable(f.zero(lhs_tile.FLOATS))
    with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
        most.set(maximum(f, lhs_tile.magnitudes(f, sources, offset + (b << 7)), most.get()))
    d, inverse = scales(f, most.get())
    f.store(d, into, align=4)
    last = f.variable(f.zero(lhs_tile.INTS))
    with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
        block = f.offset(f.offset(into, layout.header_bytes), b * layout.block_bytes)
        halves = lhs_tile.store_quants(f, sources, offset + (b << 7), inverse, block)
        f.store(two_i16(*halves), into, (b + SUMS16) * layout.scalars_bytes, align=4)
        total = halves[0] + halves[1]
        with f.when(f.compare("eq", b & 1, 1)):
            pair = two_i16(last.get(), total)
            f.store(pair, into, ((b >> 1) + SUMS32) * layout.scalars_bytes, align=4)
        last.set(total)
