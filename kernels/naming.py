"""The names of micro-kernels: computed from their fields, parsed back. Knows no kernel.

    matmul_clamp_f32_qsi8d32p4x4_qsi4c32p4x4_8x4x32_neon_dotprod
                 dst lhs    mr x kr  rhs  nr x kr  m x n x k step, engine, technique

The grammar follows KleidiAI's `docs/microkernel_names.md`; the engines `amx`, `avx512`, `avx2`, `avx` (AVX2 with
AVX-VNNI) and `scalar` are ours, and what stands behind a technique: `ahead`, weights are asked for before they are
read; `apart`, sums of a block are scaled one by one, where the other micro-kernel scales two by one instruction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kernels.errors import KernelsError

AHEAD = "ahead"
APART = "apart"
ENGINES = ("neon", "sve", "sme2", "amx", "avx512", "avx2", "avx", "scalar")

_MATMUL = re.compile(
    r"matmul_clamp_(?P<dst>[a-z]+\d+)_"
    r"(?P<lhs>[a-z0-9]+)p(?P<mr>\d+)x(?P<lhs_kr>\d+)_(?P<rhs>[a-z0-9]+)p(?P<nr>\d+)x(?P<rhs_kr>\d+)_"
    rf"(?P<m_step>\d+)x(?P<n_step>\d+)x(?P<k_step>\d+)_(?P<engine>{'|'.join(ENGINES)})(_(?P<tech>[a-z0-9]+))?"
)


EXAMPLE = "matmul_clamp_f32_qsi8d32p1x4_qsi4c32p8x4_4x16x32_avx2_maddubs"


class UnknownName(KernelsError):
    """A text that is no micro-kernel's name."""


@dataclass(frozen=True, slots=True)
class MatmulName:
    """`m_step` x `n_step`: where a caller may split the output. `k_step`: elements of K in one turn of the loop."""

    dst: str
    lhs: str
    mr: int
    lhs_kr: int
    rhs: str
    nr: int
    rhs_kr: int
    m_step: int
    n_step: int
    k_step: int
    engine: str
    tech: str = ""

    def __str__(self) -> str:
        operands = f"{self.dst}_{self.lhs}p{self.mr}x{self.lhs_kr}_{self.rhs}p{self.nr}x{self.rhs_kr}"
        tech = f"_{self.tech}" if self.tech else ""
        return f"matmul_clamp_{operands}_{self.m_step}x{self.n_step}x{self.k_step}_{self.engine}{tech}"

    @property
    def instructions(self) -> str:
        """What the technique multiplies with."""
        return self.tech.removesuffix(AHEAD).removesuffix(APART)

    @property
    def family(self) -> str:
        return f"{self.dst}_{self.lhs}p_{self.rhs}p"

    @classmethod
    def parse(cls, text: str) -> MatmulName:
        match = _MATMUL.fullmatch(text)
        if match is None:
            raise UnknownName(f"{text!r} is no micro-kernel name; the form is {EXAMPLE}")
        text_of = {key: value or "" for key, value in match.groupdict().items()}
        numbers = ("mr", "lhs_kr", "nr", "rhs_kr", "m_step", "n_step", "k_step")
        fields: dict[str, Any] = {key: int(value) if key in numbers else value for key, value in text_of.items()}
        return cls(**fields)
