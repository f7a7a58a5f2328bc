"""What the row-wise families multiply rows with: weights of one scale a channel, or a group of K. Knows no packing."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.families.block32.rhs import QSI4, QSI8, WeightCode
from kernels.quant.channel import GROUPS, Q4CX, QC8, ChannelFormat


@dataclass(frozen=True, slots=True)
class RowCode:
    """`verbs`: what an instruction set's verbs have to know of the integers."""

    name: str
    source: ChannelFormat
    verbs: WeightCode

    @property
    def is_nibble(self) -> bool:
        return self.verbs.is_nibble

    @property
    def group(self) -> int | None:
        return self.source.group


QSI8CX = RowCode("qsi8cx", QC8, QSI8)
QSI4CX = RowCode("qsi4cx", Q4CX, QSI4)
QSI4C = tuple(RowCode(f"qsi4c{form.group}", form, QSI4) for form in GROUPS)

CODES = (QSI8CX, QSI4CX, *QSI4C)
