"""Packed operands of the float families. Layout and NumPy packing, no arithmetic.

LHS f32p1x1: rows as they are, K f32 each
LHS f32p{mr}x1, for outer products: for each k, mr rows' f32; rows past M are zeros
RHS panel of nr columns: for each k, nr elements of the source type; columns past N are zeros
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.jit.ir import I32, I64, PTR, Function, vector
from kernels.ladder import Rung
from kernels.quant.blocks import BLOCK

K_STEP = 4


@dataclass(frozen=True, slots=True)
class PlainLhs:
    """f32 rows, packed by copying them; panels of several rows, by transposing them."""

    mr: int = 1

    @property
    def layout_id(self) -> str:
        return f"f32p{self.mr}x1"

    @property
    def pack_name(self) -> str:
        return f"lhs_pack_{self.layout_id}_f32"

    @property
    def part_elements(self) -> int:
        return BLOCK

    @property
    def part_bytes(self) -> int:
        return self.panel_bytes(BLOCK)

    def panel_bytes(self, k: int) -> int:
        return 4 * k * self.mr

    def pack(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """x: f32[M, K] -> u8[ceil(M / mr), panel bytes]"""
        rows = np.pad(x, ((0, -x.shape[0] % self.mr), (0, 0)))
        panels = np.ascontiguousarray(rows.reshape(-1, self.mr, x.shape[1]).transpose(0, 2, 1))
        return panels.reshape(panels.shape[0], -1).view(np.uint8)


@dataclass(frozen=True, slots=True)
class FloatCode:
    """An element type: its RHS name, the GGUF type that holds it, bytes."""

    name: str
    source: str
    element_bytes: int

    def to_f32(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """raw: u8[N, row bytes] -> f32[N, K], exactly."""
        if self.source == "BF16":
            return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return raw.view(np.float16 if self.source == "F16" else np.float32).astype(np.float32)


F32_CODE = FloatCode("f32", "F32", 4)
F16_CODE = FloatCode("f16", "F16", 2)
BF16_CODE = FloatCode("bf16", "BF16", 2)


@dataclass(frozen=True, slots=True)
class FloatRhs:
    """One packed layout of float weights."""

    code: FloatCode
    nr: int

    @property
    def layout_id(self) -> str:
        return f"{self.code.name}p{self.nr}x1"

    def panel_bytes(self, k: int) -> int:
        return k * self.nr * self.code.element_bytes

    def pack(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """raw: u8[N, row bytes] -> u8[ceil(N / nr), panel bytes]"""
        elements = np.ascontiguousarray(raw).view(f"u{self.code.element_bytes}")
        num_panels = -(-elements.shape[0] // self.nr)
        rows = np.zeros((num_panels * self.nr, elements.shape[1]), elements.dtype)
        rows[: elements.shape[0]] = elements
        packed = np.ascontiguousarray(rows.reshape(num_panels, self.nr, -1).transpose(0, 2, 1))
        return packed.reshape(num_panels, -1).view(np.uint8)


def emit_pack(layout: PlainLhs, rung: Rung) -> str:
    """IR of `pack(m, k, src, src_stride_bytes, dst)`: copies or transposes rows; k is a multiple of 4."""
    arguments = [("m", I64), ("k", I64), ("src", PTR), ("src_stride", I64), ("dst", PTR)]
    f = Function(f"{layout.pack_name}_{rung.name}", arguments, rung.attributes)
    row_bytes = f["k"] << 2
    with f.loop(0, f["m"]) as row:
        source = f.offset(f["src"], row * f["src_stride"])
        target = f.offset(f["dst"], row * row_bytes if layout.mr == 1 else row << 2)
        with f.loop(0, row_bytes, 4 * K_STEP) as at:
            four = f.load(vector(K_STEP, I32), source, at, align=4)
            if layout.mr == 1:
                f.store(four, target, at, align=4)
            for step in range(K_STEP if layout.mr > 1 else 0):
                f.store(f.extract(four, step), target, at * layout.mr + 4 * layout.mr * step, align=4)
    f.ret()
    return f.text()
