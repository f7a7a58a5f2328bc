"""The names of block32 micro-kernels and of their LHS packing, from their layouts. Lists none."""

from __future__ import annotations

from functools import partial

from kernels.families.block32.lhs import Qsi8d32, emit_pack
from kernels.families.block32.rhs import Rhs32
from kernels.families.block32.sme2_layout import StreamingRhs
from kernels.families.variant import PackVariant
from kernels.ladder import Rung
from kernels.naming import MatmulName
from kernels.quant.blocks import BLOCK


def pack_variant(layout: Qsi8d32, rung: Rung) -> PackVariant:
    return PackVariant(f"{layout.pack_name}_{rung.name}", rung, layout, partial(emit_pack, layout, rung))


def block32_name(
    lhs: Qsi8d32, rhs: Rhs32 | StreamingRhs, m_step: int, n_step: int, engine: str, tech: str
) -> MatmulName:
    return MatmulName(
        "f32", "qsi8d32", lhs.mr, lhs.kr, rhs.code.name, rhs.nr, rhs.kr, m_step, n_step, BLOCK, engine, tech
    )
