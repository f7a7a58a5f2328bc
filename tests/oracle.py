"""The llama forward pass in plain NumPy, f32, one sequence at a time: what the fast one is checked against.

It shares nothing with `kernels` and `service.model`: weights are dequantised by the official `gguf` package, the
formulas are those of the papers (RMSNorm arXiv:1910.07467, RoPE 2104.09864, GQA 2305.13245, SwiGLU 2002.05202).
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from service.gguf.reader import GGUFFile, open_gguf

F32 = npt.NDArray[np.float32]


class Oracle:
    """A llama model with all weights in f32 (four bytes a weight: small models only)."""

    def __init__(self, path: str | Path) -> None:
        with open_gguf(path) as file:
            metadata = file.metadata
            assert metadata["general.architecture"] == "llama"
            self.weights = {name: dequantised(file, name) for name in file.tensors}
            self.types = {name: tensor.type.name for name, tensor in file.tensors.items()}
        self.num_layers: int = metadata["llama.block_count"]
        self.embedding: int = metadata["llama.embedding_length"]
        self.heads: int = metadata["llama.attention.head_count"]
        self.kv_heads: int = metadata.get("llama.attention.head_count_kv", self.heads)
        self.head_dim: int = metadata.get("llama.attention.key_length", self.embedding // self.heads)
        self.rope_dims: int = metadata.get("llama.rope.dimension_count", self.head_dim)
        self.rope_base: float = metadata.get("llama.rope.freq_base", 10_000.0)
        self.epsilon: float = metadata["llama.attention.layer_norm_rms_epsilon"]

    def logits(self, token_ids: Sequence[int]) -> F32:
        """Of every position -> f32[T, V]."""
        positions = np.arange(len(token_ids))
        x = self.weights["token_embd.weight"][np.asarray(token_ids)]
        for layer in range(self.num_layers):
            x = x + self._attention(layer, self._norm(x, f"blk.{layer}.attn_norm"), positions)
            x = x + self._feed_forward(layer, self._norm(x, f"blk.{layer}.ffn_norm"))
        output = "output" if "output.weight" in self.weights else "token_embd"  # tied where there is no own
        return self._product(self._norm(x, "output_norm"), output)

    def _product(self, x: F32, name: str) -> F32:
        """x: f32[T, K] times weights f32[N, K] -> f32[T, N]"""
        out: F32 = x @ self.weights[f"{name}.weight"].T
        return out

    def _norm(self, x: F32, name: str) -> F32:
        """x: f32[T, D] -> f32[T, D]"""
        mean_square = np.mean(np.square(x), axis=-1, keepdims=True)
        normed: F32 = x / np.sqrt(mean_square + np.float32(self.epsilon)) * self.weights[f"{name}.weight"]
        return normed

    def _attention(self, layer: int, x: F32, positions: npt.NDArray[np.int64]) -> F32:
        """Causal, grouped-query. x: f32[T, D] -> f32[T, D]"""
        num_tokens = len(x)

        def heads_of(name: str, num_heads: int) -> F32:
            return self._product(x, f"blk.{layer}.{name}").reshape(num_tokens, num_heads, self.head_dim)

        q = self._rotated(heads_of("attn_q", self.heads), positions)
        k = self._cached(self._rotated(heads_of("attn_k", self.kv_heads), positions))
        v = self._cached(heads_of("attn_v", self.kv_heads))
        group = self.heads // self.kv_heads  # consecutive query heads share a KV head
        scores = np.einsum("thd,shd->hts", q, np.repeat(k, group, axis=1)) / np.sqrt(np.float32(self.head_dim))
        scores = np.where(positions[None, :] <= positions[:, None], scores, np.float32(-np.inf))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hts,shd->thd", weights, np.repeat(v, group, axis=1)).reshape(num_tokens, -1)
        return self._product(mixed, f"blk.{layer}.attn_output")

    def _cached(self, x: F32) -> F32:
        """Keys or values as the cache gives them back: here as they are."""
        return x

    def _rotated(self, x: F32, positions: npt.NDArray[np.int64]) -> F32:
        """Pairs (2i, 2i+1) of the first `rope_dims` of every head turn with the position. x: f32[T, H, head_dim]"""
        pairs = self.rope_dims // 2
        frequencies = self.rope_base ** (-np.arange(pairs, dtype=np.float64) / pairs)
        if "rope_freqs.weight" in self.weights:  # Llama 3's scaling, as the converter stores it
            frequencies = frequencies / self.weights["rope_freqs.weight"].reshape(-1)
        angles = positions[:, None] * frequencies[None, :]
        cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
        even, odd = x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]
        rotated = x.copy()
        rotated[..., 0 : 2 * pairs : 2] = even * cos - odd * sin
        rotated[..., 1 : 2 * pairs : 2] = even * sin + odd * cos
        return rotated

    def _feed_forward(self, layer: int, x: F32) -> F32:
        """SwiGLU. x: f32[T, D] -> f32[T, D]"""
        gate, up = self._product(x, f"blk.{layer}.ffn_gate"), self._product(x, f"blk.{layer}.ffn_up")
        return self._product(gate / (1 + np.exp(-gate)) * up, f"blk.{layer}.ffn_down")


def dequantised(file: GGUFFile, name: str) -> F32:
    """The tensor in f32, in its own shape."""
    tensor = file.tensors[name]
    ggml_type = gguf.GGMLQuantizationType(tensor.type.value)
    rows = file.data(name)
    if tensor.type.name in ("F32", "F16"):  # the package takes these as numbers, not as bytes
        rows = rows.view(np.float32 if tensor.type.name == "F32" else np.float16)
    values: F32 = gguf.quants.dequantize(rows, ggml_type).astype(np.float32, copy=False)
    return values.reshape(tensor.shape)


@lru_cache(maxsize=4)
def oracle_of(path: str | Path) -> Oracle:
    """A cached oracle: dequantising the demo model takes a second or two."""
    return Oracle(path)


def oracle_logits(path: str | Path, token_ids: Sequence[int]) -> F32:
    """Logits of every position of one sequence -> f32[T, V]."""
    return oracle_of(path).logits(token_ids)
