"""GGML's 32-wide block formats in NumPy: fields, (de)quantisers. The oracle of the packed formats.

Q4_0   2 B f16 d            | 16 B nibbles: low 0..15, high 16..31   w = d * (q - 8)
Q4_1   2 B f16 d, 2 B f16 m | 16 B nibbles                           w = d * q + m
Q5_0   2 B f16 d            | 4 B fifth bits | 16 B nibbles          w = d * (q - 16)
Q5_1   2 B f16 d, 2 B f16 m | 4 B fifth bits | 16 B nibbles          w = d * q + m
Q8_0   2 B f16 d            | 32 B int8                              w = d * q
IQ4_NL 2 B f16 d            | 16 B nibbles                           w = d * CODE_BOOK[q]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.quant.fields import BLOCK as BLOCK
from kernels.quant.fields import Fields

CODE_BOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
FIFTH_BIT_BYTES = 4


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """A row of K weights is K / 32 blocks, each `num_scales` f16 and then the quants."""

    name: str
    num_scales: int
    quant_bytes: int
    has_fifth_bits: bool = False
    has_code_book: bool = False

    @property
    def row_block(self) -> int:
        return BLOCK

    @property
    def block_bytes(self) -> int:
        return 2 * self.num_scales + self.quant_bytes

    def split(self, raw: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """raw: u8[N, K/32 * block_bytes] -> scale bits u16[N, K/32, num_scales], quants u8[N, K/32, quant_bytes]"""
        blocks = raw.reshape(raw.shape[0], -1, self.block_bytes)
        scales = blocks[:, :, : 2 * self.num_scales]
        return np.ascontiguousarray(scales).view(np.uint16), blocks[:, :, 2 * self.num_scales :]

    def dequantise(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """raw: u8[N, K/32 * block_bytes] -> f32[N, K]"""
        bits, quants = self.split(raw)
        scales = bits.view(np.float16).astype(np.float32)
        codes = self.codes(quants).astype(np.float32)
        weights = codes * scales[:, :, :1]
        if self.num_scales == 2:
            weights += scales[:, :, 1:]
        return weights.reshape(raw.shape[0], -1)

    def codes(self, quants: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """quants: u8[N, K/32, quant_bytes] -> the integers that the scale multiplies, i32[N, K/32, 32]"""
        if self.quant_bytes == BLOCK:
            return quants.view(np.int8).astype(np.int32)
        stored = self._stored(quants)
        if self.has_code_book:
            return np.array(CODE_BOOK, np.int32)[stored]
        return stored.astype(np.int32) - (0 if self.num_scales == 2 else 16 if self.has_fifth_bits else 8)

    def fields(self, raw: npt.NDArray[np.uint8]) -> Fields:
        """raw: u8[N, K/32 * block_bytes]; the codes as they are stored (int8 as their two's complement)."""
        bits, quants = self.split(raw)
        return Fields(bits[..., 0], self._stored(quants), m=bits[..., 1] if self.num_scales == 2 else None)

    def _stored(self, quants: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if self.quant_bytes == BLOCK:
            return quants
        nibbles = quants[..., FIFTH_BIT_BYTES if self.has_fifth_bits else 0 :]
        codes = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1)
        if self.has_fifth_bits:
            codes |= np.unpackbits(quants[..., :FIFTH_BIT_BYTES], axis=-1, bitorder="little") << np.uint8(4)
        return codes


Q4_0 = BlockFormat("Q4_0", num_scales=1, quant_bytes=16)
Q4_1 = BlockFormat("Q4_1", num_scales=2, quant_bytes=16)
Q5_0 = BlockFormat("Q5_0", num_scales=1, quant_bytes=20, has_fifth_bits=True)
Q5_1 = BlockFormat("Q5_1", num_scales=2, quant_bytes=20, has_fifth_bits=True)
Q8_0 = BlockFormat("Q8_0", num_scales=1, quant_bytes=32)
IQ4_NL = BlockFormat("IQ4_NL", num_scales=1, quant_bytes=16, has_code_book=True)

BLOCK_FORMATS = {form.name: form for form in (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL)}


def quantise_q8_0(x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """x: f32[N, K] -> Q8_0 rows u8[N, K/32 * 34], as GGML does it: d = amax / 127 in f16, halves away from zero."""
    blocks = x.reshape(x.shape[0], -1, BLOCK)
    d = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    scaled = blocks * inverse
    codes = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    fields = [d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]
    return np.concatenate(fields, axis=-1).reshape(x.shape[0], -1)
