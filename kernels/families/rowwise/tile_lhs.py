"""qai8dxp of 16 rows, 64 elements of K at a time: a row of them is a row of an AMX tile. Layout, NumPy twin.

    panel of 16 rows:
    | d: 16 f32 | zero: 16 i32 | bias: 16 i32 |
    | per 64 of K: | bias of rows 0-7: 2 blocks x 8 i32 | of rows 8-15 | 16 rows x 64 int8 |

Each block of 32 begins at its biases, 32 bytes behind the other one's, as its quants are: one offset serves both. An
odd last block stands alone in its 64; what would be the other's is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.families.rowwise.lhs import Qai8dx
from kernels.jit.ir import Function, Value
from kernels.quant.blocks import BLOCK

ROWS = 16
DEPTH = 2 * BLOCK
BIASES = 2 * ROWS * 4
DEPTH_BYTES = BIASES + ROWS * DEPTH


@dataclass(frozen=True, slots=True)
class TileQai8dx(Qai8dx):
    """`Qai8dx` whose blocks lie in pairs. Up to 8 rows are read as rows of other layouts are."""

    mr: int = ROWS
    kr: int = DEPTH

    @property
    def quants_offset(self) -> int:
        return BIASES

    def word_offset(self, row: int, word: int) -> int:
        return BIASES + row * DEPTH + 4 * word

    def block_offset(self, block: int) -> int:
        return block // 2 * DEPTH_BYTES + block % 2 * BLOCK

    @property
    def runs(self) -> tuple[int, ...]:
        return (BIASES,)

    def panel_bytes(self, k: int) -> int:
        return self.header_bytes + -(-k // DEPTH) * DEPTH_BYTES

    def emit_panel_bytes(self, num_blocks: Value) -> Value:
        return (num_blocks + 1 >> 1) * DEPTH_BYTES + self.header_bytes

    def emit_block(self, f: Function, panel: Value, index: Value) -> Value:
        return f.offset(panel, (index >> 1) * DEPTH_BYTES + (index & 1) * BLOCK + self.header_bytes)

    def emit_bias(self, f: Function, block: Value, lane: Value) -> Value:
        return f.offset(block, (lane << 2) + ((lane & 8) << 2))

    def _pack_blocks(self, packed: npt.NDArray[np.uint8], q: npt.NDArray[np.int8], sums: npt.NDArray[np.int32]) -> None:
        num_panels, missing = packed.shape[0], q.shape[1] // BLOCK % 2
        q, sums = np.pad(q, ((0, 0), (0, missing * BLOCK))), np.pad(sums, ((0, 0), (0, missing)))
        pairs = packed.reshape(num_panels, -1, DEPTH_BYTES)
        biases = (-8 * sums).reshape(num_panels, 2, ROWS // 2, -1, 2).transpose(0, 3, 1, 4, 2)
        pairs[..., :BIASES] = np.ascontiguousarray(biases, np.int32).view(np.uint8).reshape(*pairs.shape[:2], -1)
        rows = q.reshape(num_panels, ROWS, -1, DEPTH).transpose(0, 2, 1, 3)
        pairs[..., BIASES:] = np.ascontiguousarray(rows).view(np.uint8).reshape(*pairs.shape[:2], -1)
