"""What the packed integers of a format are: their planes of bits, zero point, scales. Knows no layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernels.quant.blocks import CODE_BOOK, IQ4_NL, Q5_0, Q5_1
from kernels.quant.fields import BLOCK, SourceFormat
from kernels.quant.super_blocks import Q2_K, Q3_K, Q4_K, Q5_K, Q6_K

SUB16 = 16
BYTE_PRODUCTS = 7
"""The largest code whose weights times their scales per 16 are bytes."""


@dataclass(frozen=True, slots=True)
class PlaneCode:
    """The names' ending says the scales: c32 an f16 per 32; k32, k16 bytes per 32 or 16, f16 per super-block of 256.

    planes: bits of each plane, lowest first. zero: what stored codes exceed the weights by.
    sub: elements under one byte scale, 0 where there is none. table: what the codes are looked up in.
    six_bits: scales and minima, which in Q4_K and Q5_K have so many, are packed as such.
    """

    name: str
    source: SourceFormat
    planes: tuple[int, ...]
    zero: int = 0
    has_min: bool = False
    sub: int = 0
    table: tuple[int, ...] = ()
    six_bits: bool = False

    @property
    def is_super(self) -> bool:
        return self.sub > 0

    @property
    def largest(self) -> int:
        return (1 << sum(self.planes)) - 1

    def with_six_bits(self) -> PlaneCode:
        """Of scales and minima, if a layout of theirs has bytes."""
        if self.sub == BLOCK and self.has_min:
            return replace(self, name=f"{self.name}s6", six_bits=True)
        return self

    def multiplied(self, zero: int = 0) -> PlaneCode:
        """Of weights times their scales per 16, if those are bytes: then a super-block is one sum. Else itself.

        Q2_K's are up to 45, Q3_K's -124 to 128, which as -sc x q and with the f32 scale negated are int8. `zero`: what
        is added to negated ones, 128 for bytes without a sign.
        """
        has_bytes = self.sub == SUB16 and self.largest <= BYTE_PRODUCTS
        return replace(self, sub=0, zero=zero if self.zero else 0) if has_bytes else self


QSI5 = PlaneCode("qsi5c32", Q5_0, (4, 1), zero=16)
QAI5 = PlaneCode("qai5c32", Q5_1, (4, 1), has_min=True)
QSL4 = PlaneCode("qsl4c32", IQ4_NL, (4,), table=CODE_BOOK)  # l: looked up
QAI4_K = PlaneCode("qai4k32", Q4_K, (4,), has_min=True, sub=32)
QAI5_K = PlaneCode("qai5k32", Q5_K, (4, 1), has_min=True, sub=32)
QSI6_K = PlaneCode("qsi6k16", Q6_K, (4, 2), zero=32, sub=16)
QSI3_K = PlaneCode("qsi3k16", Q3_K, (2, 1), zero=4, sub=16)
QAI2_K = PlaneCode("qai2k16", Q2_K, (2,), has_min=True, sub=16)

BLOCK_CODES = (QSI5, QAI5, QSL4)
SUPER_CODES = (QAI4_K, QAI5_K, QSI6_K, QSI3_K, QAI2_K)
