"""qsi8d32p: activations as int8 with one f32 scale per row and 32 elements of K. Layout, NumPy twin, emitter.

    panel of mr rows, per block of 32:
    | d: mr f32 | bias: mr x 4 B | dsum: mr f32 | to 16 bytes | 32/kr groups x mr rows x kr int8 |

`bias` is -8 x sum(q), what unsigned nibbles (q + 8) add too much; `dsum` is d x sum(q), the factor of a block's
minimum. With `repeat` 2 each scalar stands twice (for 2x2 tiles); with `paired_bias` the bias is two i16: sums over the
elements whose k % 4 is 0, 1 and over those where it is 2, 3 (for instructions that add int16 pairs last).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from kernels.families.block32 import lhs_quad, lhs_tile
from kernels.families.block32.integer_panel import IntegerPanel
from kernels.families.block32.lhs_lanes import TINY, minus_eight, quantised, scales
from kernels.jit.ir import F32, I8, I32, I64, PTR, Function, Value, vector
from kernels.ladder import Rung
from kernels.quant.blocks import BLOCK


@dataclass(frozen=True, slots=True)
class Qsi8d32(IntegerPanel):
    """One packed layout of the LHS."""

    paired_bias: bool = False
    scheme: ClassVar[str] = "qsi8d32"
    num_scalars: ClassVar[int] = 3

    @property
    def layout_id(self) -> str:
        suffix = ("s" if self.paired_bias else "") + ("r" if self.repeat > 1 else "")
        return f"{self.scheme}p{self.mr}x{self.kr}{suffix}"

    @property
    def quants_offset(self) -> int:
        return self.header_bytes

    @property
    def block_bytes(self) -> int:
        return self.quants_offset + BLOCK * self.mr

    @property
    def part_elements(self) -> int:
        return BLOCK

    @property
    def part_bytes(self) -> int:
        return self.block_bytes

    def panel_bytes(self, k: int) -> int:
        return k // BLOCK * self.block_bytes

    def emit_panel_bytes(self, num_blocks: Value) -> Value:
        return num_blocks * self.block_bytes

    def emit_block_offset(self, index: Value) -> Value:
        """Of a panel's block."""
        return index * self.block_bytes

    def pack(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """x: f32[M, K] -> u8[ceil(M / mr), K/32, block_bytes]; rows past M are zeros."""
        num_panels = -(-x.shape[0] // self.mr)
        rows = np.zeros((num_panels * self.mr, x.shape[1]), np.float32)
        rows[: x.shape[0]] = x
        d, q = quantise(rows)
        total = q.sum(-1, dtype=np.int32)
        if self.paired_bias:
            pairs = q.reshape(*q.shape[:2], 8, 2, 2).sum((2, 4), dtype=np.int32)
            bias = np.ascontiguousarray((-8 * pairs).astype(np.int16)).view(np.int32)[..., 0]
        else:
            bias = -8 * total
        scalars = [d, bias.view(np.float32), d * total.astype(np.float32)]
        fields = [np.repeat(self._by_panel(s), self.repeat, axis=-1).view(np.uint8) for s in scalars]
        groups = q.reshape(num_panels, self.mr, -1, BLOCK // self.kr, self.kr).transpose(0, 2, 3, 1, 4)
        quants = np.ascontiguousarray(groups).view(np.uint8).reshape(num_panels, -1, BLOCK * self.mr)
        padding = np.zeros((*quants.shape[:2], self.header_bytes - sum(field.shape[-1] for field in fields)), np.uint8)
        return np.ascontiguousarray(np.concatenate([*fields, padding, quants], axis=-1))

    def _by_panel(self, scalars: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """f32[M, K/32] -> f32[M / mr, K/32, mr]"""
        return np.ascontiguousarray(scalars.reshape(-1, self.mr, scalars.shape[1]).transpose(0, 2, 1))


TILE_LAYOUT = Qsi8d32(mr=lhs_tile.ROWS, kr=BLOCK)


def quantise(x: npt.NDArray[np.float32], block: int = BLOCK) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """x: f32[M, K] -> d f32[M, K/block], q int8[M, K/block, block]: d = amax / 127, halves to even."""
    blocks = x.reshape(x.shape[0], -1, block)
    amax = np.abs(blocks).max(axis=-1, keepdims=True)
    live = amax >= np.float32(TINY)
    d = np.where(live, amax / np.float32(127), np.float32(0))
    inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=live)
    return d[..., 0], np.rint(blocks * inverse).astype(np.int8)


def emit_pack(layout: Qsi8d32, rung: Rung) -> str:
    """IR of `pack(m, k, src, src_stride_bytes, dst)`; exact twin of `Qsi8d32.pack` for finite rows."""
    name = f"{layout.pack_name}_{rung.name}"
    arguments = [("m", I64), ("k", I64), ("src", PTR), ("src_stride", I64), ("dst", PTR)]
    f = Function(name, arguments, rung.attributes)
    num_blocks = f["k"] >> 5
    num_rows = f["m"]
    if layout == TILE_LAYOUT and "avx512vnni" in rung.needs:
        is_whole = f.compare("eq", num_rows, lhs_tile.ROWS)
        with f.when(is_whole):
            rows = [f.offset(f["src"], f["src_stride"] * row) for row in range(lhs_tile.ROWS)]
            with f.loop(0, num_blocks) as index:
                block = f.offset(f["dst"], index * layout.block_bytes)
                lhs_tile.emit_tile_block(f, rows, index << 7, block)
        num_rows = f.select(is_whole, f.const(I64, 0), num_rows)
    with f.loop(0, num_rows) as row:
        source = f.offset(f["src"], row * f["src_stride"])
        # With mr = 1 consecutive rows are consecutive panels; otherwise a row is a lane of the only panel.
        panel = f.offset(f["dst"], row * (num_blocks * layout.block_bytes)) if layout.mr == 1 else f["dst"]
        lane = f.const(I64, 0) if layout.mr == 1 else row
        if layout.mr == 1 and rung.arch == "x86_64":
            lhs_quad.emit_row(f, layout, source, num_blocks, panel)
        else:
            assert not layout.paired_bias, f"{name}: a bias in two parts is x86's"
            with f.loop(0, num_blocks) as index:
                block = f.offset(panel, index * layout.block_bytes)
                _emit_block(f, layout, f.offset(source, index << 7), block, lane)
    f.ret()
    return f.text()


def _emit_block(f: Function, layout: Qsi8d32, source: Value, block: Value, lane: Value) -> None:
    floats = vector(BLOCK, F32)
    x = f.load(floats, source, align=4)
    magnitude = f.call("llvm.fabs.v32f32", floats, x)
    d, inverse = scales(f, maximum_lane(f, magnitude))
    (q,) = quantised(f, [x], f.splat(inverse, floats))
    bytes_ = f.cast("trunc", q, vector(BLOCK, I8))
    total = f.call("llvm.vector.reduce.add.v8i32", I32, _octet(f, q, 0) + _octet(f, q, BLOCK // 2))
    for field, scalar in enumerate((d, minus_eight(f, total), d * f.cast("sitofp", total, F32))):
        for copy in range(layout.repeat):
            at = lane * (4 * layout.repeat)
            f.store(scalar, f.offset(block, field * layout.scalars_bytes + 4 * copy), at, align=4)
    row = f.offset(block, lane * layout.kr)
    if layout.mr == 1:
        f.store(bytes_, row, layout.quants_offset)
        return
    for group in range(BLOCK // layout.kr):
        part = f.shuffle(bytes_, range(group * layout.kr, (group + 1) * layout.kr))
        f.store(part, row, layout.group_offset(group))


def maximum_lane(f: Function, values: Value) -> Value:
    """The largest lane; a NaN lane never wins. Halves are folded, so no order matters."""
    lanes = BLOCK
    while lanes > 1:
        lanes //= 2
        low, high = f.shuffle(values, range(lanes)), f.shuffle(values, range(lanes, 2 * lanes))
        values = f.select(f.compare("ogt", low, high), low, high)
    return f.extract(values, 0)


def _octet(f: Function, q: Value, start: int) -> Value:
    return f.shuffle(q, range(start, start + 8)) + f.shuffle(q, range(start + 8, start + 16))
