"""The names of row-wise micro-kernels and of their LHS packing, from their layouts. Lists none."""

from __future__ import annotations

from functools import partial

from kernels.families.rowwise.lhs import Qai8dx
from kernels.families.rowwise.lhs_pack import emit_pack
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.rowwise.sme2_layout import StreamingRowRhs
from kernels.families.variant import PackVariant
from kernels.ladder import Rung
from kernels.naming import MatmulName


def pack_variant(layout: Qai8dx, rung: Rung) -> PackVariant:
    return PackVariant(f"{layout.pack_name}_{rung.name}", rung, layout, partial(emit_pack, layout, rung))


def row_name(
    lhs: Qai8dx, rhs: RowRhs | StreamingRowRhs, m_step: int, n_step: int, engine: str, tech: str
) -> MatmulName:
    return MatmulName(
        "f32", "qai8dx", lhs.mr, lhs.kr, rhs.code.name, rhs.nr, rhs.kr, m_step, n_step, rhs.turn, engine, tech
    )
