"""The f32 oracle with the two roundings that the fast model makes by design: int8 activations and f16 keys and values.

What is left between them is the order and the rounding of float additions.
"""

import numpy as np

from kernels.families.block32.lhs import quantise as quantise_blocks
from kernels.families.rowwise.lhs import quantise as quantise_rows
from kernels.quant.blocks import BLOCK
from kernels.quant.channel import CHANNEL_FORMATS
from kernels.quant.super_blocks import SUPER_BLOCK
from tests.oracle import F32, Oracle

BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
SUPER_BLOCKS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
QUANTISED = (*BLOCKS, *SUPER_BLOCKS)


class RoundingOracle(Oracle):
    """Products with quantised weights see activations rounded as the packed LHS rounds them."""

    def _product(self, x: F32, name: str) -> F32:
        if self.types[f"{name}.weight"] in CHANNEL_FORMATS:
            d, zero, codes = quantise_rows(np.ascontiguousarray(x, np.float32))
            x = d[:, None] * (codes.astype(np.int32) - zero[:, None]).astype(np.float32)
        elif self.types[f"{name}.weight"] in QUANTISED:
            block = SUPER_BLOCK if self.types[f"{name}.weight"] in SUPER_BLOCKS else BLOCK
            d, q = quantise_blocks(np.ascontiguousarray(x, np.float32), block)
            x = (d[..., None] * q.astype(np.float32)).reshape(x.shape)
        wide = x.astype(np.float64) @ self.weights[f"{name}.weight"].T.astype(np.float64)
        return wide.astype(np.float32)

    def _cached(self, x: F32) -> F32:
        return x.astype(np.float16).astype(np.float32)
