"""The names of super-block micro-kernels and of their LHS packing, from their layouts. Lists none."""

from __future__ import annotations

from functools import partial

from kernels.families.planes.rhs import PlaneRhs
from kernels.families.supers.lhs import Qsi8d256, emit_pack
from kernels.families.variant import PackVariant
from kernels.ladder import Rung
from kernels.naming import MatmulName
from kernels.quant.fields import BLOCK
from kernels.quant.super_blocks import SUPER_BLOCK


def super_pack_variant(layout: Qsi8d256, rung: Rung) -> PackVariant:
    return PackVariant(f"{layout.pack_name}_{rung.name}", rung, layout, partial(emit_pack, layout, rung))


def super_name(lhs: Qsi8d256, rhs: PlaneRhs, rows: int, panels: int, engine: str, tech: str) -> MatmulName:
    """A turn of a GEMV is a super-block, but in streaming mode."""
    n_step, k_step = panels * rhs.nr, SUPER_BLOCK if rows == 1 and engine != "sme2" else BLOCK
    return MatmulName(
        "f32", "qsi8d256", lhs.mr, lhs.kr, rhs.code.name, rhs.nr, rhs.kr, rows, n_step, k_step, engine, tech
    )
