"""GGML's super-blocks of 256 (the K-quants) in NumPy: fields, dequantiser. The oracle of the packed formats.

Q4_K  f16 d, f16 dmin | 12 B scales | 128 B nibbles                w = d * sc * q - dmin * m        sc, m per 32
Q5_K  f16 d, f16 dmin | 12 B scales | 32 B fifth bits | 128 B      the same
Q6_K  128 B nibbles | 64 B upper pairs | 16 int8 | f16 d           w = d * sc * (q - 32)            sc per 16
Q3_K  32 B third bits | 64 B pairs | 12 B scales | f16 d           w = d * (sc - 32) * (q - 4)      sc per 16
Q2_K  16 B scales | 64 B pairs | f16 d, f16 dmin                   w = d * sc * q - dmin * m        sc, m per 16

12 B scales of Q4_K, Q5_K: eight scales and eight minima of 6 bits; of Q3_K: sixteen scales of 6 bits. Of Q2_K: nibbles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.quant.fields import BLOCK, Fields

SUPER_BLOCK = 256
SUB_BLOCKS = SUPER_BLOCK // BLOCK

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SuperFormat:
    """A row of K weights is K / 256 super-blocks. `zero`: what stored codes exceed the integers by."""

    name: str
    block_bytes: int
    zero: int
    sort: Callable[[Bytes], Fields]

    @property
    def row_block(self) -> int:
        return SUPER_BLOCK

    def fields(self, raw: Bytes) -> Fields:
        """raw: u8[N, K/256 * block_bytes]"""
        return self.sort(raw.reshape(raw.shape[0], -1, self.block_bytes))

    def dequantise(self, raw: Bytes) -> npt.NDArray[np.float32]:
        """raw: u8[N, K/256 * block_bytes] -> f32[N, K]; d * sc is exact, each further operation is rounded once."""
        fields = self.fields(raw)
        assert fields.sub_scales is not None
        shape = fields.sub_scales.shape
        codes = (fields.codes.astype(np.float32) - np.float32(self.zero)).reshape(*shape, -1)
        weights = codes * (_of_sub_blocks(fields.d) * fields.sub_scales)[..., None]
        if fields.m is not None and fields.sub_mins is not None:
            weights -= (_of_sub_blocks(fields.m) * fields.sub_mins)[..., None]
        return weights.reshape(raw.shape[0], -1)


def _of_sub_blocks(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """f16 bits [N, K/256] -> f32[N, K/32, 1]"""
    return np.repeat(np.ascontiguousarray(bits).view(np.float16).astype(np.float32), SUB_BLOCKS, axis=1)[..., None]


def _halves(blocks: Bytes, at: int) -> npt.NDArray[np.uint16]:
    """The f16 bits at byte `at` of every super-block: [N, S]"""
    return np.ascontiguousarray(blocks[..., at : at + 2]).view(np.uint16)[..., 0]


def _bits(data: Bytes, width: int, run: int) -> Bytes:
    """u8[N, S, B] -> codes of `width` bits [N, S * B * 8 / width]: each run of bytes holds its codes plane by plane."""
    shifts = np.arange(0, 8, width, dtype=np.uint8)[:, None]
    runs = data.reshape(*data.shape[:2], -1, 1, run) >> shifts & np.uint8((1 << width) - 1)
    return runs.reshape(data.shape[0], data.shape[1], -1)


def _by_block(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[N, S, 256] -> [N, 8 S, 32], and of sub-scales [N, S, 8 or 16] -> [N, 8 S, 1 or 2]"""
    return values.reshape(values.shape[0], values.shape[1] * SUB_BLOCKS, -1)


def _six_bit_pairs(scales: Bytes) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """12 B -> eight scales, eight minima: the first four in 6 bits, the others' upper 2 bits above those."""
    low, mid, high = scales[..., :4], scales[..., 4:8], scales[..., 8:]
    sc = np.concatenate([low & 63, (high & 15) | (low >> 2 & 48)], axis=-1)
    m = np.concatenate([mid & 63, (high >> 4) | (mid >> 2 & 48)], axis=-1)
    return _by_block(sc).view(np.int8), _by_block(m).view(np.int8)


def _q4_k(blocks: Bytes) -> Fields:
    sc, m = _six_bit_pairs(blocks[..., 4:16])
    codes = _by_block(_bits(blocks[..., 16:], 4, run=32))
    return Fields(_halves(blocks, 0), codes, _halves(blocks, 2), sc, m)


def _q5_k(blocks: Bytes) -> Fields:
    sc, m = _six_bit_pairs(blocks[..., 4:16])
    codes = _bits(blocks[..., 48:], 4, run=32) | _bits(blocks[..., 16:48], 1, run=32) << np.uint8(4)
    return Fields(_halves(blocks, 0), _by_block(codes), _halves(blocks, 2), sc, m)


def _q6_k(blocks: Bytes) -> Fields:
    codes = _bits(blocks[..., :128], 4, run=64) | _bits(blocks[..., 128:192], 2, run=32) << np.uint8(4)
    scales = np.ascontiguousarray(blocks[..., 192:208])
    return Fields(_halves(blocks, 208), _by_block(codes), None, _by_block(scales).view(np.int8))


def _q3_k(blocks: Bytes) -> Fields:
    codes = _bits(blocks[..., 32:96], 2, run=32) | _bits(blocks[..., :32], 1, run=32) << np.uint8(2)
    low = _bits(blocks[..., 96:104], 4, run=8)
    high = _bits(blocks[..., 104:108], 2, run=4)
    scales = (low | high << np.uint8(4)).view(np.int8) - np.int8(32)
    return Fields(_halves(blocks, 108), _by_block(codes), None, _by_block(scales.view(np.uint8)).view(np.int8))


def _q2_k(blocks: Bytes) -> Fields:
    codes = _by_block(_bits(blocks[..., 16:80], 2, run=32))
    scales, four = blocks[..., :16], np.uint8(4)
    sc, m = (_by_block(part).view(np.int8) for part in (scales & np.uint8(15), scales >> four))
    return Fields(_halves(blocks, 80), codes, _halves(blocks, 82), sc, m)


Q2_K = SuperFormat("Q2_K", 84, 0, _q2_k)
Q3_K = SuperFormat("Q3_K", 110, 4, _q3_k)
Q4_K = SuperFormat("Q4_K", 144, 0, _q4_k)
Q5_K = SuperFormat("Q5_K", 176, 0, _q5_k)
Q6_K = SuperFormat("Q6_K", 210, 32, _q6_k)

SUPER_FORMATS = {form.name: form for form in (Q2_K, Q3_K, Q4_K, Q5_K, Q6_K)}
