"""The only list of matmul micro-kernels: drives selection, tests, benchmark, docs and metric labels."""

from __future__ import annotations

from collections.abc import Iterator

from kernels.errors import KernelsError
from kernels.families.block32.families import FAMILIES as BLOCK32
from kernels.families.floats.families import FAMILIES as FLOATS
from kernels.families.planes.families import FAMILIES as PLANES
from kernels.families.rowwise.families import FAMILIES as ROWWISE
from kernels.families.supers.families import FAMILIES as SUPERS
from kernels.families.variant import Family, MatmulVariant

FAMILIES: tuple[Family, ...] = (*BLOCK32, *PLANES, *SUPERS, *ROWWISE, *FLOATS)


class UnsupportedType(KernelsError):
    """A tensor type that no family packs."""


def family_for(source: str) -> Family:
    """The family that serves a GGUF tensor type, by its name. Raises UnsupportedType."""
    for family in FAMILIES:
        if family.source == source:
            return family
    known = ", ".join(family.source for family in FAMILIES)
    raise UnsupportedType(f"no micro-kernel packs {source} weights; supported are {known}")


def matmul_variants() -> Iterator[tuple[Family, MatmulVariant]]:
    for family in FAMILIES:
        for variant in family.variants:
            yield family, variant
