"""The families of super-blocks: the only list of them."""

from __future__ import annotations

from functools import partial

from kernels.families.amx.variants import super_tile_variant
from kernels.families.block32.lhs import Qsi8d32
from kernels.families.planes.code import SUPER_CODES, PlaneCode
from kernels.families.planes.variants import Activations
from kernels.families.supers.gemm import emit_gemm
from kernels.families.supers.gemv import emit_gemv
from kernels.families.supers.lhs import Qsi8d256
from kernels.families.supers.names import super_name, super_pack_variant
from kernels.families.supers.reference import matmul
from kernels.families.supers.sme2 import SuperMopa, SuperStreamingGemv
from kernels.families.supers.unsigned import unsigned_gemms
from kernels.families.variant import Family
from kernels.quant.super_blocks import SUPER_BLOCK

FASTER_WITHOUT_TILES = ("Q6_K",)
"""Than with AMX's, in some shapes: measured when halves were scaled as floats per 32."""


def _with_scales_of_super_blocks(layout: Qsi8d32) -> Qsi8d256:
    return Qsi8d256(layout.mr, layout.kr, repeat=layout.repeat)


_ACTIVATIONS = Activations(
    layout=_with_scales_of_super_blocks,
    name=super_name,
    pack=super_pack_variant,
    gemm=emit_gemm,
    gemv=emit_gemv,
    tiles=super_tile_variant,
    mopa=SuperMopa,
    streaming_gemv=SuperStreamingGemv,
    unsigned_gemms=unsigned_gemms,
)


def _family(code: PlaneCode) -> Family:
    return Family(
        f"f32_qsi8d256p_{code.name}p",
        code.source.name,
        _ACTIVATIONS.variants(code),
        partial(matmul, code),
        code.source.dequantise,
        SUPER_BLOCK,
        lower_gemm=code.source.name in FASTER_WITHOUT_TILES,
    )


FAMILIES = tuple(_family(code) for code in SUPER_CODES)
"""One of each K-quant."""
