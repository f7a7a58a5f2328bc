"""Weights with a scale per channel, or per group of 32 to 128 along K: formats of our own, their (de)quantisers.

gemmule.QC8          4 B f32 s | K int8                          w = s * q              one scale a row
gemmule.Q4CX         4 B f32 s | K/2 nibbles                     w = s * (q - 8)        one scale a row
gemmule.8DA4W_G64    2 B f16 s | 32 B nibbles, for each 64       w = s * (q - 8)        likewise 32 and 128

Nibbles as in Q4_0: of each 32 elements, byte i holds element i below and element i + 16 above. So a row of
gemmule.8DA4W_G32 is a row of Q4_0; what differs is the LHS: these formats are multiplied with rows that are quantised
as a whole (qai8dx), as ExecuTorch, torchao (8da4w) and XNNPACK (QC8) do. Source of the scheme: Jacob et al. 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.quant.fields import BLOCK
from kernels.quant.scale_search import round_to_codes, search_scales

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
CHANNEL_SCALE_BYTES, GROUP_SCALE_BYTES = 4, 2
MAX_GROUP = 128


@dataclass(frozen=True, slots=True)
class ChannelFormat:
    """bits: 4 or 8. group: elements under one scale; None: the whole row."""

    name: str
    bits: int
    group: int | None = None

    @property
    def row_block(self) -> int:
        """K is a multiple of it."""
        return self.group or BLOCK

    @property
    def zero(self) -> int:
        """What stored codes exceed the integers by."""
        return 8 if self.bits == 4 else 0

    @property
    def least(self) -> int:
        return -8 if self.bits == 4 else -127

    @property
    def most(self) -> int:
        return 7 if self.bits == 4 else 127

    def row_bytes(self, k: int) -> int:
        scales = CHANNEL_SCALE_BYTES if self.group is None else k // self.group * GROUP_SCALE_BYTES
        return scales + k * self.bits // 8

    def num_elements(self, row_bytes: int) -> int | None:
        """The K of a row of so many bytes, None if there is none."""
        if self.group is None:
            k = (row_bytes - CHANNEL_SCALE_BYTES) * 8 // self.bits
        else:
            k = row_bytes // (GROUP_SCALE_BYTES + self.group * self.bits // 8) * self.group
        return k if k > 0 and k % self.row_block == 0 and self.row_bytes(k) == row_bytes else None

    def split(self, raw: Bytes) -> tuple[Floats, Bytes]:
        """raw: u8[N, row bytes] -> scales f32[N, S], stored bytes of the codes u8[N, K * bits / 8]"""
        if self.group is None:
            scales = np.ascontiguousarray(raw[:, :CHANNEL_SCALE_BYTES]).view(np.float32)
            return scales, raw[:, CHANNEL_SCALE_BYTES:]
        blocks = raw.reshape(raw.shape[0], -1, GROUP_SCALE_BYTES + self.group * self.bits // 8)
        halves = np.ascontiguousarray(blocks[..., :GROUP_SCALE_BYTES]).view(np.float16)[..., 0]
        return halves.astype(np.float32), blocks[..., GROUP_SCALE_BYTES:].reshape(raw.shape[0], -1)

    def codes(self, stored: Bytes) -> npt.NDArray[np.int8]:
        """stored: u8[N, K * bits / 8] -> the integers that the scales multiply, int8[N, K]"""
        if self.bits == 8:
            return np.ascontiguousarray(stored).view(np.int8)
        halves = stored.reshape(stored.shape[0], -1, BLOCK // 2)
        both = np.concatenate([halves & np.uint8(15), halves >> np.uint8(4)], axis=-1)
        codes: npt.NDArray[np.int8] = both.reshape(stored.shape[0], -1).view(np.int8)
        return codes - np.int8(self.zero)

    def dequantise(self, raw: Bytes) -> Floats:
        """raw: u8[N, row bytes] -> f32[N, K]"""
        scales, stored = self.split(raw)
        codes = self.codes(stored).astype(np.float32)
        grouped = codes.reshape(*scales.shape, -1) * scales[..., None]
        return np.asarray(grouped.reshape(codes.shape), np.float32)

    def quantise(self, w: Floats) -> Bytes:
        """w: f32[N, K], finite -> u8[N, row bytes]. Symmetric. 8 bits keep within +-127; of 4 bits the scale is the one
        of the least squared error that kernels.quant.scale_search tries.
        """
        grouped = w.reshape(w.shape[0], 1 if self.group is None else -1, self.group or w.shape[1])
        scales = search_scales(grouped, self.least, self.most) if self.bits == 4 else self._widest(grouped)
        scales = self.kept(scales)
        return self.join(scales, round_to_codes(grouped, scales, self.least, self.most).reshape(w.shape))

    def kept(self, scales: Floats) -> Floats:
        """f32 of any shape -> as they are read back."""
        return scales if self.group is None else scales.astype(np.float16).astype(np.float32)

    def _widest(self, grouped: Floats) -> Floats:
        """f32[N, S, group] -> f32[N, S]: nothing is clipped."""
        return np.asarray(np.abs(grouped).max(axis=-1) / np.float32(self.most), np.float32)

    def join(self, scales: Floats, codes: npt.NDArray[np.int8]) -> Bytes:
        """scales: f32[N, S], codes: int8[N, K] -> u8[N, row bytes]"""
        num_rows = codes.shape[0]
        stored = codes.view(np.uint8)
        if self.bits == 4:
            halves = (codes + np.int8(self.zero)).view(np.uint8).reshape(num_rows, -1, 2, BLOCK // 2)
            stored = (halves[:, :, 0] | halves[:, :, 1] << np.uint8(4)).reshape(num_rows, -1)
        if self.group is None:
            return np.concatenate([np.ascontiguousarray(scales).view(np.uint8), stored], axis=-1)
        halves = np.ascontiguousarray(scales.astype(np.float16))[..., None].view(np.uint8)
        blocks = np.concatenate([halves, stored.reshape(num_rows, scales.shape[1], -1)], axis=-1)
        return blocks.reshape(num_rows, -1)


QC8 = ChannelFormat("gemmule.QC8", 8)
Q4CX = ChannelFormat("gemmule.Q4CX", 4)
GROUPS = tuple(ChannelFormat(f"gemmule.8DA4W_G{group}", 4, group) for group in (32, 64, MAX_GROUP))

CHANNEL_FORMATS = {form.name: form for form in (QC8, Q4CX, *GROUPS)}
