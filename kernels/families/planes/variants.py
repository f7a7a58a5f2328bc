"""The micro-kernels of planes on every rung, whatever activations they are multiplied with. Knows no family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from kernels.families.block32.lhs import Qsi8d32
from kernels.families.planes.code import SUB16, PlaneCode
from kernels.families.planes.rhs import PlaneRhs
from kernels.families.planes.rungs import RUNGS, PlaneRung
from kernels.families.planes.sme2 import AT_ONCE, PANELS
from kernels.families.planes.tile import IntegerLhs, PlaneTile
from kernels.families.prefetch import FROM_MEMORY, technique
from kernels.families.variant import MatmulVariant, PackedLhs, PackVariant
from kernels.ladder import AVX512_VNNI, NEON, SME2, Rung
from kernels.naming import MatmulName


class PlaneLhs(IntegerLhs, PackedLhs, Protocol):
    """Activations that planes are multiplied with."""


Lhs = TypeVar("Lhs", bound=PlaneLhs)


class Streamed(Protocol):
    """A micro-kernel in streaming mode."""

    def emit(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Activations(Generic[Lhs]):
    """One kind of them, and the emitters that multiply it with planes.

    layout: in panels as a rung has them. name: from both layouts, rows, panels, engine and tech. tiles: the GEMM of the
    tile registers. unsigned_gemms: AVX512-VNNI's, for operands with byte scales per 16.
    """

    layout: Callable[[Qsi8d32], Lhs]
    name: Callable[[Lhs, PlaneRhs, int, int, str, str], MatmulName]
    pack: Callable[[Lhs, Rung], PackVariant]
    gemm: Callable[[PlaneTile], str]
    gemv: Callable[[PlaneTile], str]
    tiles: Callable[[PlaneRhs], MatmulVariant]
    mopa: Callable[[MatmulName, Lhs, PlaneRhs, int, str], Streamed]
    streaming_gemv: Callable[[MatmulName, Lhs, PlaneRhs, int, str], Streamed]
    unsigned_gemms: Callable[[PlaneRhs, PlaneRung], list[MatmulVariant]] | None = None

    def variants(self, code: PlaneCode) -> tuple[MatmulVariant, ...]:
        """In the order of the ladder."""
        streaming = [variant for rung in SME2 for variant in self._streaming(code, rung)]
        return (*streaming, *(variant for use in RUNGS for variant in self._of_rung(code, use)))

    def _of_rung(self, code: PlaneCode, use: PlaneRung) -> list[MatmulVariant]:
        row, rhs = self.layout(use.row), PlaneRhs(code.with_six_bits() if use.six_bits else code, use.nr, use.lhs.kr)
        verbs, tech = use.gemv or (use.verbs, use.tech)
        name = self.name(row, rhs, 1, use.gemv_panels, use.engine, tech)
        gemvs = [PlaneTile(name, row, rhs, 1, use.gemv_panels, verbs, use.rung.attributes)]
        if use.asks_ahead:
            gemvs.append(replace(gemvs[0], name=replace(name, tech=technique(tech, FROM_MEMORY)), prefetch=FROM_MEMORY))
        pack = self.pack(row, use.rung)
        tiles = [self.tiles(rhs)] if use.rung == AVX512_VNNI else []
        return [
            *tiles,
            *self._gemms(rhs, use),
            *(MatmulVariant(tile.name, use.rung, row, rhs, pack, partial(self.gemv, tile)) for tile in gemvs),
        ]

    def _gemms(self, rhs: PlaneRhs, use: PlaneRung) -> list[MatmulVariant]:
        has_factors16 = use.verbs.gemm_code(rhs.code).sub == SUB16
        if self.unsigned_gemms and has_factors16 and use.rung == AVX512_VNNI:
            return self.unsigned_gemms(rhs, use)
        lhs = self.layout(use.lhs)
        rows, panels = use.gemm16 if use.gemm16 and has_factors16 else use.gemm
        name = self.name(lhs, rhs, rows, panels, use.engine, use.tech)
        tile = PlaneTile(name, lhs, rhs, rows, panels, use.verbs, use.rung.attributes, use.asks_ahead)
        return [MatmulVariant(name, use.rung, lhs, rhs, self.pack(lhs, use.rung), partial(self.gemm, tile))]

    def _streaming(self, code: PlaneCode, rung: Rung) -> list[MatmulVariant]:
        """Rows are packed outside streaming mode, by NEON code."""
        assert rung.streaming_bits
        lanes = rung.streaming_bits // 32
        lhs, row = (self.layout(Qsi8d32(mr, 4)) for mr in (lanes, 1))
        rhs, features = PlaneRhs(code, lanes, 4), rung.attributes
        name = self.name(lhs, rhs, lanes, PANELS, "sme2", "mopa")
        gemm = self.mopa(name, lhs, rhs, PANELS, features)
        row_name = self.name(row, rhs, 1, AT_ONCE, "sme2", "sdot")
        gemv = self.streaming_gemv(row_name, row, rhs, AT_ONCE, features)
        return [
            MatmulVariant(name, rung, lhs, rhs, self.pack(lhs, NEON), gemm.emit),
            MatmulVariant(row_name, rung, row, rhs, self.pack(row, NEON), gemv.emit),
        ]
