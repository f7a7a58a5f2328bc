"""qsi8d256p with elements without a sign, for products of bytes that want the LHS so. Layout, NumPy twin, emitter.

    row, per super-block of 256:   | d: f32 | loud: i32 | to 16 bytes | 256 x (int8 + 128) |

`loud`: 1 if the magnitudes of 16 neighbours add up to more than MOST_OF_16, else 0. Hardly any do: they would be half
as large on average as the largest of their 256. Otherwise a sum of products of 16 with weights from -32 to 31 is an
i16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from kernels.families.block32.lhs import quantise
from kernels.families.block32.lhs_lanes import quantised, scales
from kernels.families.supers.lhs import Qsi8d256, largest_magnitude
from kernels.jit.ir import F32, I1, I8, I16, I32, I64, PTR, Function, Value, vector
from kernels.ladder import Rung
from kernels.quant.fields import BLOCK
from kernels.quant.super_blocks import SUB_BLOCKS, SUPER_BLOCK

LOUD = 1  # scalar field
HALF = BLOCK // 2
MOST_OF_16 = (1 << 15) // 32 - 1
ZERO = 128


@dataclass(frozen=True, slots=True)
class UnsignedQsi8d256(Qsi8d256):
    """A panel is a row."""

    num_scalars: ClassVar[int] = 2

    def __post_init__(self) -> None:
        assert self.mr == self.repeat == 1, self

    @property
    def layout_id(self) -> str:
        return f"{self.scheme}p{self.mr}x{self.kr}u"

    def pack(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """x: f32[M, K] -> u8[M, K/256, super_bytes]"""
        d, q = quantise(x, SUPER_BLOCK)
        magnitudes = np.abs(q.astype(np.int32)).reshape(*q.shape[:2], -1, HALF).sum(-1)
        packed = np.zeros((*q.shape[:2], self.super_bytes), np.uint8)
        packed[..., :4] = d[..., None].view(np.uint8)
        packed[..., 4] = (magnitudes > MOST_OF_16).any(-1)
        packed[..., self.header_bytes :] = q.view(np.uint8) + np.uint8(ZERO)
        return packed


def emit_pack(layout: UnsignedQsi8d256, rung: Rung) -> str:
    """IR of `pack(m, k, src, src_stride_bytes, dst)`; exact twin of `UnsignedQsi8d256.pack` for finite rows."""
    arguments = [("m", I64), ("k", I64), ("src", PTR), ("src_stride", I64), ("dst", PTR)]
    f = Function(f"{layout.pack_name}_{rung.name}", arguments, rung.attributes)
    num_supers = f["k"] >> 8
    with f.loop(0, f["m"]) as row:
        source = f.offset(f["src"], row * f["src_stride"])
        panel = f.offset(f["dst"], row * (num_supers * layout.super_bytes))
        with f.loop(0, num_supers) as index:
            _emit_super_block(f, layout, f.offset(source, index << 10), f.offset(panel, index * layout.super_bytes))
    f.ret()
    return f.text()


def _emit_super_block(f: Function, layout: UnsignedQsi8d256, source: Value, into: Value) -> None:
    floats = vector(BLOCK, F32)
    d, inverse = scales(f, largest_magnitude(f, source))
    most = f.variable(f.const(I32, 0))
    with f.loop(0, f.const(I64, SUB_BLOCKS)) as b:
        (q,) = quantised(f, [f.load(floats, f.offset(source, b << 7), align=4)], f.splat(inverse, floats))
        f.store(f.cast("trunc", q + ZERO, vector(BLOCK, I8)), f.offset(into, b << 5), layout.header_bytes)
        shorts = vector(BLOCK, I16)
        magnitudes = f.call("llvm.abs.v32i16", shorts, f.cast("trunc", q, shorts), f.const(I1, 0))
        for first in (0, HALF):
            half = f.shuffle(magnitudes, range(first, first + HALF))
            total = f.cast("zext", f.call("llvm.vector.reduce.add.v16i16", I16, half), I32)
            most.set(f.call("llvm.umax.i32", I32, most.get(), total))
    loud = f.cast("zext", f.compare("ugt", most.get(), MOST_OF_16), I32)
    for field, value in enumerate((d, loud)):
        f.store(value, into, field * layout.scalars_bytes, align=4)
