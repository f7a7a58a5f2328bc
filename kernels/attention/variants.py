"""The list of attention micro-kernels: which instruction sets there are, their tiles, their names, the choice.

    attention_f32_f16p32_d64_6x16_avx2        attention_merge_f32_d64_avx2
              dst kv       head_dim engine
                  p32: blocks of 32 tokens; 6x16: query rows x tokens that a tile of scores covers
    attention_f32_qsi8d32p32_d64_6x16_avx2: keys and values as q8_0 keeps them; qsi16dxp32: as i16
    attention_f32_qsi16dxp32_d64_12x32_avx512_vnni: engines that multiply pairs of int16 twice as fast as floats
    attention_f32_f16p32_d64_6x16x128_avx2: for many rows; 128 tokens are made floats before all of them
    attention_f32_f16p32_d256_w512_cap50_6x16_avx2: of the last 512 tokens, scores capped at +-50

A decode gets a tile of its own, as high as the query heads that share a kv head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kernels.attention.emit import Tile
from kernels.attention.isa import AVX2, AVX512, NEON, SCALAR, Isa
from kernels.attention.merge import Merge
from kernels.attention.sight import RANGE_TOKENS
from kernels.errors import KernelsError
from kernels.ladder import AVX2 as AVX2_RUNG
from kernels.ladder import AVX512_VNNI, AVX_VNNI, Rung
from kernels.ladder import NEON as NEON_RUNG
from kernels.ladder import SCALAR as SCALAR_RUNG
from kernels.naming import ENGINES, UnknownName
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.kv_types import F16_KV, I16_KV, KV_TYPES, KVType, kv_type_named

AUTO = "auto"

# Attention of floats needs the vectors of the ladder's rungs, not their integer dot products.
_AVX512_NEEDS = AVX512_VNNI.needs - {"avx512vnni"}
AVX512_RUNG = Rung("avx512", "x86_64", _AVX512_NEEDS, ",".join(f"+{name}" for name in sorted(_AVX512_NEEDS)))

_KV = "|".join(kind.kernel_name for kind in KV_TYPES)
_NAME = re.compile(
    rf"attention_(?P<dst>[a-z]+\d+)_(?P<kv>{_KV})p32_d(?P<head_dim>\d+)_"
    r"(?:w(?P<window>\d+)_)?(?:cap(?P<soft_cap>\d+(?:\.\d+)?)_)?"
    rf"(?P<rows>\d+)x(?P<columns>\d+)(?P<wide>x{RANGE_TOKENS})?_(?P<engine>(?:{'|'.join(ENGINES)})(?:_vnni)?)"
)


@dataclass(frozen=True, slots=True)
class AttentionName:
    """`rows` x `columns`: query rows and tokens of a whole tile. `window`: tokens that a row sees at most. `is_wide`:
    a range is made floats first."""

    kv: str
    head_dim: int
    rows: int
    columns: int
    engine: str
    dst: str = "f32"
    window: int | None = None
    soft_cap: float | None = None
    is_wide: bool = False

    def __str__(self) -> str:
        tile = f"{self.rows}x{self.columns}" + (f"x{RANGE_TOKENS}" if self.is_wide else "")
        window = "" if self.window is None else f"w{self.window}_"
        cap = "" if self.soft_cap is None else f"cap{self.soft_cap:.9g}_"
        return f"attention_{self.dst}_{self.kv}p{BLOCK_TOKENS}_d{self.head_dim}_{window}{cap}{tile}_{self.engine}"

    @classmethod
    def parse(cls, text: str) -> AttentionName:
        match = _NAME.fullmatch(text)
        if match is None:
            raise UnknownName(f"{text!r} is no attention micro-kernel; the form is attention_f32_f16p32_d64_6x16_avx2")
        head_dim, rows, columns = (int(match[key]) for key in ("head_dim", "rows", "columns"))
        window = int(match["window"]) if match["window"] else None
        soft_cap = float(match["soft_cap"]) if match["soft_cap"] else None
        is_wide = match["wide"] is not None
        return cls(match["kv"], head_dim, rows, columns, match["engine"], match["dst"], window, soft_cap, is_wide)


@dataclass(frozen=True, slots=True)
class AttentionVariant:
    """An instruction set with the tallest tile that stays in its registers. `engine`: in names."""

    rung: Rung
    isa: Isa
    rows: int

    @property
    def engine(self) -> str:
        return f"{self.isa.engine}_vnni" if self.multiplies_pairs else self.isa.engine

    @property
    def multiplies_pairs(self) -> bool:
        """Whether it multiplies twice as many int16 as floats at a time."""
        return not self.rung.needs.isdisjoint({"avx512vnni", "avxvnni"})

    @property
    def kv_type(self) -> KVType:
        """What keys and values are best kept in."""
        return I16_KV if self.multiplies_pairs else F16_KV

    def tile(
        self,
        head_dim: int,
        rows: int | None = None,
        window: int | None = None,
        soft_cap: float | None = None,
        kv: KVType = F16_KV,
        is_wide: bool = False,
    ) -> Tile:
        """The micro-kernel for a head_dim; `rows`: of another tile than the tallest."""
        shape = Tile("", head_dim, rows or self.rows, self.isa, self.rung.attributes, window, soft_cap, kv, is_wide)
        name = AttentionName(
            kv.kernel_name, head_dim, shape.rows, shape.columns, self.engine, "f32", window, soft_cap, is_wide
        )
        return replace(shape, name=str(name))

    def wide_tile(
        self, head_dim: int, window: int | None = None, soft_cap: float | None = None, kv: KVType = F16_KV
    ) -> Tile:
        """For many rows. What is multiplied as it is kept is read where it is."""
        return self.tile(head_dim, None, window, soft_cap, kv, kv.is_widened)

    def decode_tile(
        self,
        head_dim: int,
        num_groups: int,
        window: int | None = None,
        soft_cap: float | None = None,
        kv: KVType = F16_KV,
    ) -> Tile:
        """For `num_groups` query rows at a time: one tile, or as few equal ones as there must be."""
        num_tiles = -(-num_groups // self.rows)
        return self.tile(head_dim, -(-num_groups // num_tiles), window, soft_cap, kv)

    def merge(self, head_dim: int) -> Merge:
        name = f"attention_merge_f32_d{head_dim}_{self.engine}"
        return Merge(name, head_dim, self.isa, self.rung.attributes)


ATTENTION_VARIANTS = (
    AttentionVariant(AVX512_VNNI, AVX512, rows=12),
    AttentionVariant(AVX512_RUNG, AVX512, rows=12),
    AttentionVariant(AVX_VNNI, AVX2, rows=6),
    AttentionVariant(AVX2_RUNG, AVX2, rows=6),
    AttentionVariant(NEON_RUNG, NEON, rows=8),
    AttentionVariant(SCALAR_RUNG, SCALAR, rows=2),
)


def attention_candidates(
    rungs: Iterable[Rung], variants: Iterable[AttentionVariant] = ATTENTION_VARIANTS
) -> Iterator[AttentionVariant]:
    """Those that a CPU can run whose ladder (perhaps capped) is `rungs`, best first."""
    allowed = list(rungs)
    features = frozenset(feature for rung in allowed for feature in rung.needs)
    archs = {rung.arch for rung in allowed}
    for variant in variants:
        if variant.rung.arch in archs and variant.rung.needs <= features:
            yield variant


def kv_type_of(name: str, rungs: Iterable[Rung]) -> KVType:
    """`name`: of a type, or `auto`, for what attention on this ladder is fastest with."""
    return select_attention(rungs).kv_type if name == AUTO else kv_type_named(name)


def select_attention(rungs: Iterable[Rung]) -> AttentionVariant:
    """The best variant for a CPU whose ladder is `rungs`, untested."""
    for variant in attention_candidates(rungs):
        return variant
    raise KernelsError("no rung is left for attention: not even scalar")
