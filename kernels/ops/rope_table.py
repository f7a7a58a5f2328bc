"""The angles of rotary position embedding, once per model: cos and sin of position * frequency. Arrays only.

frequency[i] = base^(-2i / rope_dim) / factor[i]   (RoFormer, arXiv:2104.09864; factors as in GGUF's rope_freqs.weight)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RopeTable:
    """cos, sin: f32[num_positions, rope_dim/2]. split: pairs (i, i + rope_dim/2) instead of (2i, 2i+1)."""

    cos: npt.NDArray[np.float32]
    sin: npt.NDArray[np.float32]
    split: bool

    @property
    def rope_dim(self) -> int:
        return 2 * int(self.cos.shape[1])

    @classmethod
    def make(
        cls,
        num_positions: int,
        rope_dim: int,
        base: float,
        split: bool,
        factors: npt.NDArray[np.float32] | None = None,
        position_scale: float = 1.0,
    ) -> "RopeTable":
        """`position_scale` stretches positions (linear scaling divides by the factor, so pass its inverse)."""
        assert rope_dim % 2 == 0, f"rope_dim {rope_dim}"
        frequencies = base ** (-2.0 * np.arange(rope_dim // 2) / rope_dim)
        if factors is not None:
            assert factors.shape == frequencies.shape, f"{factors.shape} factors for {frequencies.shape} frequencies"
            frequencies = frequencies / factors.astype(np.float64)
        angles = np.arange(num_positions)[:, None] * position_scale * frequencies
        return cls(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32), split)
