"""Loops that only load, or only compute in registers: the roofs that micro-kernels are compared with.

`int8`: the rung's own dot product of bytes; `f32`: its fma. All operands are in registers, and there are more
accumulators than an instruction takes cycles, so nothing but the units themselves limits the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.jit.ir import F32, I8, I16, I32, I64, PTR, Function, Value, vector
from kernels.jit.scalable import load_repeated, scalable, vscale_range
from kernels.jit.streaming import INTS as ZA_INTS
from kernels.jit.streaming import add_outer_bytes, add_outer_floats, streaming_attributes, zero_tiles
from kernels.jit.tiles import ROW_BYTES, TILE_ROWS, TileShape, add_byte_products, clear, configure, release, store_tile
from kernels.ladder import AMX_INT8, Rung

INT8, F32_FMA = "int8", "f32"
KINDS = (INT8, F32_FMA)
READ_BYTES = 512  # of one turn
READ_AHEAD_BYTES = 4096  # asked for, into L2: two threads of a Zen 4 read 35 to 57 GB/s without, 60 to 68 with it
ACCUMULATORS = 12
_ARGUMENTS = [("count", I64), ("data", PTR)]  # count: turns; data: bytes to read, or 256 zero bytes


@dataclass(frozen=True, slots=True)
class PeakLoop:
    """One loop. `per_turn`: bytes read, or operations (a multiply-add is two), in one turn."""

    name: str
    per_turn: int
    text: str


def read_loop(rung: Rung) -> PeakLoop:
    """Reads `count` times 512 bytes from `data`, which is written once so that the loads are not in vain."""
    name = f"peak_read_{rung.name}"
    f = Function(name, _ARGUMENTS, rung.attributes if not rung.streaming_bits else "+neon")
    wide = vector(16, I32)
    sums = [f.variable(f.zero(wide)) for _ in range(4)]
    with f.loop(0, f["count"]) as turn:
        base = f.offset(f["data"], turn * READ_BYTES)
        f.prefetch_lines(f.offset(base, READ_AHEAD_BYTES), READ_BYTES, locality=2)
        for line in range(READ_BYTES // 64):
            total = sums[line % len(sums)]
            total.set(total.get() | f.load(wide, base, 64 * line, align=4))
    _keep(f, [total.get() for total in sums])
    return PeakLoop(name, READ_BYTES, f.text())


def compute_loop(rung: Rung, kind: str) -> PeakLoop:
    name = f"peak_{kind}_{rung.name}{rung.streaming_bits or ''}"
    if rung.streaming_bits:
        return _outer_products(rung, kind, name)
    if rung == AMX_INT8 and kind == INT8:
        return _tile_products(rung, name)
    attributes = (vscale_range(rung.vector_bits),) if rung.vector_bits else ()
    f = Function(name, _ARGUMENTS, rung.attributes, attributes=attributes)
    step = _FmaStep(f, rung) if kind == F32_FMA else _DotStep(f, rung)
    sums = [f.variable(f.zero(step.type)) for _ in range(ACCUMULATORS)]
    with f.loop(0, f["count"]):
        for total in sums:
            total.set(step.add(total.get()))
    _keep(f, [total.get() for total in sums])
    return PeakLoop(name, step.operations * ACCUMULATORS, f.text())


def _keep(f: Function, values: list[Value]) -> None:
    """What the values are must matter: they are stored on the stack, whose address goes through an asm statement."""
    place = f.stack(256)
    for value in values:
        f.store(value, place, align=16)
        f.emit(I64, f'call i64 asm sideeffect "", "=r,r,~{{memory}}"(ptr {place.name})')
    f.ret()


class _FmaStep:
    def __init__(self, f: Function, rung: Rung) -> None:
        self._f = f
        if rung.vector_bits:  # SVE
            lanes, self.type = rung.vector_bits // 32, scalable(4, F32)
            self._operand = load_repeated(f, self.type, f["data"])
        else:
            lanes = {"amx_int8": 16, "avx512_vnni": 16, "avx_vnni": 8, "avx2": 8, "scalar": 1}.get(rung.name, 4)
            self.type = vector(lanes, F32) if lanes > 1 else F32
            self._operand = f.load(self.type, f["data"])
        self.operations = 2 * lanes

    def add(self, total: Value) -> Value:
        return self._f.fma(self._operand, self._operand, total)


class _DotStep:
    """total += products of bytes, as the rung's micro-kernels do it."""

    def __init__(self, f: Function, rung: Rung) -> None:
        self._f, self._rung = f, rung.name
        num_bytes = {"avx512_vnni": 64, "avx_vnni": 32, "avx2": 32, "scalar": 1}.get(rung.name, 16)
        self._bytes = vector(num_bytes, I8)
        if rung.name == "sve_i8mm":
            assert rung.vector_bits is not None
            self.type, self._bytes = scalable(4, I32), scalable(16, I8)
            self.operations = 4 * rung.vector_bits // 8
            self._weights = load_repeated(f, self._bytes, f["data"])
            return
        lanes = {"avx2": (16, I16), "neon": (16, I16), "scalar": (1, I32)}.get(rung.name, (num_bytes // 4, I32))
        self.type = vector(*lanes) if rung.name != "scalar" else I32
        self.operations = (4 if rung.name == "neon_i8mm" else 2) * num_bytes
        self._weights = f.load(self._bytes if rung.name != "scalar" else I32, f["data"])

    def add(self, total: Value) -> Value:
        f, w = self._f, self._weights
        register = {"avx2": "x", "neon": "w", "scalar": "r"}.get(self._rung)
        if register is not None:  # products that do not depend on the sum would leave the loop
            w = f.pinned(w, register)
        match self._rung:
            case "avx512_vnni" | "avx_vnni":
                bits = 512 if self._rung == "avx512_vnni" else 256
                return f.call(f"llvm.x86.avx512.vpdpbusd.{bits}", self.type, total, w, w)
            case "avx2":
                return total + f.call("llvm.x86.avx2.pmadd.ub.sw", self.type, w, w)
            case "sve_i8mm":
                return f.call("llvm.aarch64.sve.smmla.nxv4i32", self.type, total, w, w)
            case "neon_i8mm":
                return f.call("llvm.aarch64.neon.smmla.v4i32.v16i8", self.type, total, w, w)
            case "neon_dotprod":
                return f.call("llvm.aarch64.neon.sdot.v4i32.v16i8", self.type, total, w, w)
            case "neon":
                wide = f.cast("sext", w, self.type)
                return total + wide * wide
            case _:
                return total + w * w


def _tile_products(rung: Rung, name: str) -> PeakLoop:
    f = Function(name, _ARGUMENTS, rung.attributes)
    configure(f, [TileShape(TILE_ROWS, ROW_BYTES)] * 6)
    for tile in range(6):
        clear(f, tile)
    with f.loop(0, f["count"]):
        for tile in range(4):
            add_byte_products(f, tile, 4, 5)
    place = f.stack(TILE_ROWS * ROW_BYTES)
    for tile in range(4):
        store_tile(f, tile, place)
    release(f)
    f.ret()
    return PeakLoop(name, 4 * 2 * TILE_ROWS * (ROW_BYTES // 4) * ROW_BYTES, f.text())


def _outer_products(rung: Rung, kind: str, name: str) -> PeakLoop:
    assert rung.streaming_bits is not None
    lanes = rung.streaming_bits // 32
    f = Function(name, _ARGUMENTS, rung.attributes, attributes=streaming_attributes(rung.streaming_bits))
    bytes_, floats = scalable(16, I8), scalable(4, F32)
    operand = load_repeated(f, bytes_ if kind == INT8 else floats, f["data"])
    zero_tiles(f, range(4))
    with f.loop(0, f["count"]):
        for tile in range(4):
            if kind == INT8:
                add_outer_bytes(f, tile, operand, operand)
            else:
                add_outer_floats(f, tile, operand, operand)
    every = f.const(scalable(4, "i1"), 1)
    zero = f.const(I32, 0)
    rows = [
        f.call("llvm.aarch64.sme.read.horiz.nxv4i32", ZA_INTS, f.zero(ZA_INTS), every, f.const(I32, tile), zero)
        for tile in range(4)
    ]
    _keep(f, rows)
    return PeakLoop(name, 4 * lanes * lanes * (8 if kind == INT8 else 2), f.text())
