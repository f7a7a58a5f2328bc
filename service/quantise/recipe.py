"""Which tensor becomes what: the types that can be written, and recipes of several. Knows names, no bytes.

mixed48: attention, embedding and output in 8 bits, the feed-forward part in 4, a scale a channel each (the Mixed_INT48
of XNNPACK's Gemma benchmark). 8da4w-gN: 4 bits with a scale for each N weights along K, or for fewer where N does not
divide K; the scheme is one of linear layers, so the embedding, and an output that is tied to it, become qc8 unless
another type is named. Norms, biases and what else is a vector stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from service.errors import SettingsError
from service.gguf.row_types import ROW_TYPES, RowType
from service.gguf.types import GGMLType

TensorType: TypeAlias = GGMLType | RowType

FILE_TYPES: Final = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32}
"""GGML's types that can be written, with the number that `general.file_type` has for a file mostly of it."""

GROUPS: Final = {f"8da4w-g{group}": ROW_TYPES[f"8DA4W_G{group}"] for group in (32, 64, 128)}
TYPES: Final[Mapping[str, TensorType]] = {
    **{name.lower(): GGMLType[name] for name in FILE_TYPES},
    "qc8": ROW_TYPES["QC8"],
    "q4cx": ROW_TYPES["Q4CX"],
    **GROUPS,
}
MIXED: Final = "mixed48"
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True)
class Made:
    """A tensor of the new file and the one that it is made of: the same, but for the output of a tied model."""

    name: str
    source: str
    type: TensorType | None
    """None: as it is."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Types by name, in any case. outer: of the embedding and the output; embedding: of it alone. None: as the
    others."""

    kind: str
    outer: str | None = None
    embedding: str | None = None

    def check(self) -> None:
        """SettingsError for a type that cannot be written."""
        if self.kind.lower() not in (*TYPES, MIXED):
            raise SettingsError(f"cannot quantise to {self.kind!r}; possible are {', '.join((*TYPES, MIXED))}")
        for name in (self.outer, self.embedding):
            if name is not None and name.lower() not in TYPES:
                raise SettingsError(f"cannot quantise a tensor to {name!r}; possible are {', '.join(TYPES)}")

    def made(self, shapes: Mapping[str, Sequence[int]]) -> list[Made]:
        """What the new file holds, in the order of `shapes`: those of the source, rows first."""
        found = [Made(name, name, self._type(name, shape)) for name, shape in shapes.items()]
        is_tied = EMBEDDING in shapes and OUTPUT not in shapes
        if is_tied and self.embedding is not None and self._named(EMBEDDING) != self._named(OUTPUT):
            found.append(Made(OUTPUT, EMBEDDING, self._type(OUTPUT, shapes[EMBEDDING])))
        return found

    @property
    def file_type(self) -> int | None:
        """The number of `general.file_type`, if there is one."""
        return FILE_TYPES.get(self.kind.upper())

    def _type(self, name: str, shape: Sequence[int]) -> TensorType | None:
        """Vectors keep theirs, and so does a matrix whose rows the type's blocks do not divide."""
        wanted = self._named(name)
        if len(shape) < 2 or shape[-2] < 2:
            return None
        fitting = [wanted]
        if wanted in GROUPS.values():
            fitting += [smaller for smaller in reversed(GROUPS.values()) if smaller.block_size < wanted.block_size]
        return next((kind for kind in fitting if shape[-1] % kind.block_size == 0), None)

    def _named(self, name: str) -> TensorType:
        kind = self.kind
        if kind.lower() == MIXED:
            kind = "q4cx" if ".ffn_" in name else "qc8"
        if name == EMBEDDING:
            kind = self.embedding or self.outer or ("qc8" if kind.lower() in GROUPS else kind)
        elif name == OUTPUT:
            kind = self.outer or kind
        return TYPES[kind.lower()]
