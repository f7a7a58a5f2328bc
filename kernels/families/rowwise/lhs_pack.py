"""Writes the micro-kernel that quantises and packs rows as a whole: two passes over a row, which is in L1 by then."""

from __future__ import annotations

from kernels.families.block32.lhs_lanes import TINY
from kernels.families.rowwise.lhs import MOST, STEPS, Qai8dx
from kernels.jit.ir import F32, I8, I32, I64, PTR, Function, Value, vector
from kernels.ladder import Rung
from kernels.quant.blocks import BLOCK


def emit_pack(layout: Qai8dx, rung: Rung) -> str:
    """IR of `pack(m, k, src, src_stride_bytes, dst)`; exact twin of `Qai8dx.pack` for finite rows."""
    name = f"{layout.pack_name}_{rung.name}"
    arguments = [("m", I64), ("k", I64), ("src", PTR), ("src_stride", I64), ("dst", PTR)]
    return _Pack(Function(name, arguments, rung.attributes), layout).text()


class _Pack:
    def __init__(self, f: Function, layout: Qai8dx) -> None:
        self.f, self.layout = f, layout
        self.floats, self.ints = vector(BLOCK, F32), vector(BLOCK, I32)
        self.num_blocks = f["k"] >> 5

    def text(self) -> str:
        f, layout = self.f, self.layout
        panel_bytes = layout.emit_panel_bytes(self.num_blocks)
        with f.loop(0, f["m"]) as row:
            source = f.offset(f["src"], row * f["src_stride"])
            # With mr = 1 consecutive rows are consecutive panels; otherwise a row is a lane of the only panel.
            panel = f.offset(f["dst"], row * panel_bytes) if layout.mr == 1 else f["dst"]
            self._row(source, panel, f.const(I64, 0) if layout.mr == 1 else row)
        f.ret()
        return f.text()

    def _row(self, source: Value, panel: Value, lane: Value) -> None:
        f, layout = self.f, self.layout
        least, most = self._range(source)
        half = most * f.const(F32, 0.5) - least * f.const(F32, 0.5)
        live = f.compare("oge", half, f.const(F32, TINY))
        zero, steps = f.const(F32, 0), f.const(F32, STEPS / 2)
        d = f.select(live, f.divide(half, steps), zero)
        inverse = f.select(live, f.divide(steps, half), zero)
        point = f.call("llvm.rint.f32", F32, f.const(F32, -MOST) - least * inverse)
        point = f.select(live, point, zero)
        total = f.variable(f.const(I32, 0))
        with f.loop(0, self.num_blocks) as index:
            block = layout.emit_block(f, panel, index)
            total.set(total.get() + self._block(f.offset(source, index << 7), block, lane, inverse, point))
        into = f.offset(panel, lane << 2)
        f.store(d, into, 0, align=4)
        f.store(f.cast("fptosi", point, I32), into, layout.zero_offset, align=4)
        f.store(f.const(I32, 0) - (total.get() << 3), into, layout.bias_offset, align=4)

    def _range(self, source: Value) -> tuple[Value, Value]:
        """The least and the most of a row and 0."""
        f = self.f
        least, most = f.variable(f.zero(self.floats)), f.variable(f.zero(self.floats))
        with f.loop(0, self.num_blocks) as index:
            x = f.load(self.floats, f.offset(source, index << 7), align=4)
            least.set(_least(f, x, least.get()))
            most.set(_most(f, x, most.get()))
        ends = []
        for values, pick in ((least.get(), _least), (most.get(), _most)):
            lanes = BLOCK
            while lanes > 1:
                lanes //= 2
                values = pick(f, f.shuffle(values, range(lanes)), f.shuffle(values, range(lanes, 2 * lanes)))
            ends.append(f.extract(values, 0))
        return ends[0], ends[1]

    def _block(self, source: Value, block: Value, lane: Value, inverse: Value, point: Value) -> Value:
        """Packs 32 elements of a row; their sum, i32."""
        f, layout = self.f, self.layout
        x = f.load(self.floats, source, align=4)
        scaled = f.call("llvm.rint.v32f32", self.floats, x * f.splat(inverse, self.floats))
        moved = scaled + f.splat(point, self.floats)
        clipped = _least(f, _most(f, moved, f.const(self.floats, -MOST)), f.const(self.floats, MOST))
        q = f.cast("fptosi", clipped, self.ints)
        bytes_ = f.cast("trunc", q, vector(BLOCK, I8))
        row = f.offset(block, lane * layout.kr)
        size = BLOCK // len(layout.runs)
        for run, at in enumerate(layout.runs):
            part = bytes_ if size == BLOCK else f.shuffle(bytes_, range(run * size, (run + 1) * size))
            f.store(part, row, at)
        return self._bias(q, block, lane)

    def _bias(self, q: Value, block: Value, lane: Value) -> Value:
        f, layout = self.f, self.layout
        octets = [f.shuffle(q, range(start, start + 8)) for start in range(0, BLOCK, 8)]
        eight = octets[0] + octets[1] + (octets[2] + octets[3])
        total = f.call("llvm.vector.reduce.add.v8i32", I32, eight)
        if not layout.has_bias:
            return total
        bias = _minus_eight(f, total)
        if layout.paired_bias:
            low = f.call("llvm.vector.reduce.add.v4i32", I32, f.shuffle(eight, (0, 1, 4, 5)))
            bias = (_minus_eight(f, low) & 0xFFFF) | (_minus_eight(f, total - low) << 16)
        f.store(bias, layout.emit_bias(f, block, lane), align=4)
        if layout.padded:
            f.store(f.zero(vector(3, I32)), block, 4, align=4)
        return total


def _minus_eight(f: Function, total: Value) -> Value:
    return f.const(I32, 0) - (total << 3)


def _least(f: Function, left: Value, right: Value) -> Value:
    """A NaN on the left never wins."""
    return f.select(f.compare("olt", left, right), left, right)


def _most(f: Function, left: Value, right: Value) -> Value:
    return f.select(f.compare("ogt", left, right), left, right)
