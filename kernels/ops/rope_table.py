"""The angles of rotary position embedding, once per model: cos and sin of position * frequency. Arrays only.

frequency[i] = base^(-2i / rope_dim) / factor[i]   (RoFormer, arXiv:2104.09864; factors as in GGUF's rope_freqs.weight)

Linear scaling slows every frequency down. YaRN (arXiv:2309.00071) leaves those alone that turn often within the context
that the model was trained for, slows down those that turn seldom, ramps in between, and amplifies cos and sin.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Yarn:
    """`context`: tokens of the training; `fast`, `slow`: turns within it between which the ramp lies."""

    factor: float
    context: int
    fast: float = 32.0
    slow: float = 1.0

    def slowed(self, frequencies: npt.NDArray[np.float64], base: float) -> npt.NDArray[np.float64]:
        """f64[rope_dim/2] -> the same, interpolated where they are slow."""
        num_pairs = frequencies.size

        def pair(turns: float) -> float:
            return num_pairs * math.log(self.context / (turns * 2 * math.pi)) / math.log(base)

        low = max(0, math.floor(pair(self.fast)))
        high = min(2 * num_pairs - 1, math.ceil(pair(self.slow)))
        ramp = np.clip((np.arange(num_pairs) - low) / max(0.001, high - low), 0, 1)
        slowed: npt.NDArray[np.float64] = frequencies * (ramp / self.factor + 1 - ramp)
        return slowed

    @property
    def amplitude(self) -> float:
        return 1 + 0.1 * math.log(self.factor)


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
        yarn: Yarn | None = None,
        amplitude: float = 1.0,
    ) -> "RopeTable":
        """`position_scale` stretches positions (linear scaling divides by the factor, so pass its inverse)."""
        assert rope_dim % 2 == 0, f"rope_dim {rope_dim}"
        frequencies = base ** (-2.0 * np.arange(rope_dim // 2) / rope_dim)
        if factors is not None:
            assert factors.shape == frequencies.shape, f"{factors.shape} factors for {frequencies.shape} frequencies"
            frequencies = frequencies / factors.astype(np.float64)
        if yarn is not None:
            frequencies, amplitude = yarn.slowed(frequencies, base), amplitude * yarn.amplitude
        angles = np.arange(num_positions)[:, None] * position_scale * frequencies
        cos, sin = amplitude * np.cos(angles), amplitude * np.sin(angles)
        return cls(cos.astype(np.float32), sin.astype(np.float32), split)


def rotate(x: npt.NDArray[np.float32], positions: npt.NDArray[np.int32], table: RopeTable) -> npt.NDArray[np.float32]:
    """The twin: x f32[T, heads, head_dim] -> the same, rotated."""
    cos, sin = table.cos[positions][:, None, :], table.sin[positions][:, None, :]
    half = table.rope_dim // 2
    out = x.copy()
    first, second = (
        (slice(0, half), slice(half, 2 * half)) if table.split else (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
    )
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., second] * cos + x[..., first] * sin
    return out
