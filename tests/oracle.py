"""The forward pass of every architecture in plain NumPy, f32, one sequence at a time: what the fast one is checked
against.

It shares nothing with `kernels` and `service.model`: weights are dequantised by the official `gguf` package (those of
our own types by their NumPy formats), the formulas are those of the papers (RMSNorm arXiv:1910.07467, RoPE 2104.09864,
GQA 2305.13245, GLU variants 2002.05202, YaRN 2309.00071, Gemma 2403.08295, Gemma 2 2408.00118, Gemma 3 2503.19786).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from service.gguf.reader import GGUFFile, open_gguf
from service.gguf.row_types import RowType

F32 = npt.NDArray[np.float32]

GEMMAS = ("gemma", "gemma2", "gemma3")


class Oracle:
    """A model with all weights in f32 (four bytes a weight: small models only)."""

    def __init__(self, path: str | Path) -> None:
        with open_gguf(path) as file:
            self.metadata = {key: file.metadata[key] for key in file.metadata if not key.startswith("tokenizer")}
            self.weights = {name: dequantised(file, name) for name in file.tensors}
            self.types = {name: tensor.type.name for name, tensor in file.tensors.items()}
        self.architecture: str = self.metadata["general.architecture"]
        self.num_layers: int = self._number("block_count")
        self.embedding: int = self._number("embedding_length")
        self.heads: int = self._number("attention.head_count")
        self.kv_heads: int = self._number("attention.head_count_kv", self.heads)
        self.head_dim: int = self._number("attention.key_length", self.embedding // self.heads)
        self.rope_dims: int = self._number("rope.dimension_count", self.head_dim)
        self.rope_base: float = self._number("rope.freq_base", 10_000.0)
        self.epsilon: float = self._number("attention.layer_norm_rms_epsilon")
        self.score_cap = self._number("attn_logit_softcapping", 50.0) if self.architecture == "gemma2" else None
        self.logit_cap = self._number("final_logit_softcapping", 30.0) if self.architecture == "gemma2" else None

    def _number(self, key: str, default: Any = None) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def logits(self, token_ids: Sequence[int]) -> F32:
        """Of every position -> f32[T, V]."""
        positions = np.arange(len(token_ids))
        x = self.weights["token_embd.weight"][np.asarray(token_ids)]
        if self.architecture in GEMMAS:
            x = x * np.sqrt(np.float32(self.embedding))
        for layer in range(self.num_layers):
            block = f"blk.{layer}"
            x = x + self._post(
                self._attention(layer, self._norm(x, f"{block}.attn_norm"), positions), block, "attention"
            )
            x = x + self._post(self._feed_forward(layer, self._norm(x, f"{block}.ffn_norm")), block, "ffw")
        output = "output" if "output.weight" in self.weights else "token_embd"  # tied where there is no own
        return self._capped(self._product(self._norm(x, "output_norm"), output), self.logit_cap)

    def _product(self, x: F32, name: str) -> F32:
        """x: f32[T, K] times weights f32[N, K] -> f32[T, N]"""
        out: F32 = x @ self.weights[f"{name}.weight"].T
        return out

    def _linear(self, x: F32, name: str) -> F32:
        """The product, and the bias where there is one."""
        product = self._product(x, name)
        bias = self.weights.get(f"{name}.bias")
        return product if bias is None else product + bias

    def _norm(self, x: F32, name: str) -> F32:
        """x: f32[..., D] -> f32[..., D]"""
        mean_square = np.mean(np.square(x), axis=-1, keepdims=True)
        normed: F32 = x / np.sqrt(mean_square + np.float32(self.epsilon)) * self.weights[f"{name}.weight"]
        return normed

    def _post(self, x: F32, block: str, part: str) -> F32:
        return self._norm(x, f"{block}.post_{part}_norm") if self.architecture in ("gemma2", "gemma3") else x

    def _capped(self, x: F32, cap: float | None) -> F32:
        return x if cap is None else np.float32(cap) * np.tanh(x / np.float32(cap))

    def _window(self, layer: int) -> int | None:
        """Tokens that this layer sees, None: all."""
        if self.architecture not in ("gemma2", "gemma3"):
            return None
        period = self._number("attention.sliding_window_pattern", 2 if self.architecture == "gemma2" else 6)
        is_local = period[layer] if isinstance(period, list) else (layer + 1) % period != 0
        return int(self._number("attention.sliding_window")) if is_local else None

    def _attention(self, layer: int, x: F32, positions: npt.NDArray[np.int64]) -> F32:
        """Causal, grouped-query. x: f32[T, D] -> f32[T, D]"""
        num_tokens, window = len(x), self._window(layer)
        block = f"blk.{layer}"
        if f"{block}.attn_qkv.weight" in self.weights:
            fused = self._linear(x, f"{block}.attn_qkv")
            ends = np.cumsum([self.heads * self.head_dim, self.kv_heads * self.head_dim])
            q, k, v = np.split(fused, ends, axis=1)
        else:
            q, k, v = (self._linear(x, f"{block}.attn_{name}") for name in "qkv")
        q, k, v = (part.reshape(num_tokens, -1, self.head_dim) for part in (q, k, v))
        if self.architecture in ("qwen3", "gemma3"):
            q, k = self._norm(q, f"{block}.attn_q_norm"), self._norm(k, f"{block}.attn_k_norm")
        q = self._rotated(q, positions, layer)
        k, v = self._cached(self._rotated(k, positions, layer)), self._cached(v)
        group = self.heads // self.kv_heads  # consecutive query heads share a KV head
        scores = np.einsum("thd,shd->hts", q, np.repeat(k, group, axis=1)) / np.sqrt(np.float32(self.head_dim))
        scores = self._capped(scores, self.score_cap)
        distance = positions[:, None] - positions[None, :]
        seen = (distance >= 0) & (distance < (window or num_tokens))
        scores = np.where(seen, scores, np.float32(-np.inf))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hts,shd->thd", weights, np.repeat(v, group, axis=1)).reshape(num_tokens, -1)
        return self._linear(mixed, f"{block}.attn_output")

    def _cached(self, x: F32) -> F32:
        """Keys or values as the cache gives them back: here as they are."""
        return x

    def _rotated(self, x: F32, positions: npt.NDArray[np.int64], layer: int = 0) -> F32:
        """Pairs of the first `rope_dims` of every head turn with the position: (2i, 2i+1) in llama, (i, i + half) in
        all others. x: f32[T, H, head_dim]
        """
        pairs = self.rope_dims // 2
        frequencies, amplitude = self._frequencies(layer)
        angles = positions[:, None] * frequencies[None, :]
        cos, sin = ((amplitude * f(angles)).astype(np.float32)[:, None] for f in (np.cos, np.sin))
        interleaved = self.architecture == "llama"
        first = slice(0, 2 * pairs, 2) if interleaved else slice(0, pairs)
        second = slice(1, 2 * pairs, 2) if interleaved else slice(pairs, 2 * pairs)
        rotated = x.copy()
        rotated[..., first] = x[..., first] * cos - x[..., second] * sin
        rotated[..., second] = x[..., first] * sin + x[..., second] * cos
        return rotated

    def _frequencies(self, layer: int) -> tuple[npt.NDArray[np.float64], float]:
        """f64[pairs], and what cos and sin are multiplied with."""
        pairs = self.rope_dims // 2
        exponents = -np.arange(pairs, dtype=np.float64) / pairs
        if self.architecture == "gemma3" and self._window(layer):
            return 10_000.0**exponents, 1.0
        frequencies = self.rope_base**exponents
        context = self._number("rope.scaling.original_context_length", self._number("context_length"))
        for name in ("rope_freqs", f"rope_factors_{'long' if self._number('context_length') > context else 'short'}"):
            if f"{name}.weight" in self.weights:  # Llama 3's scaling as the converter stores it, and Phi 3's
                frequencies = frequencies / self.weights[f"{name}.weight"].reshape(-1)
        scaling, factor = self._number("rope.scaling.type"), self._number("rope.scaling.factor", 1.0)
        amplitude = self._number("rope.scaling.attn_factor", 1.0)
        if scaling == "linear":
            frequencies = frequencies / factor
        if scaling == "yarn":
            # Wavelengths between context / 32 and context: from untouched to wholly interpolated (pairs rounded out).
            turns = [math.log(context / (2 * math.pi * t)) / math.log(self.rope_base) * pairs for t in (32.0, 1.0)]
            low, high = max(math.floor(turns[0]), 0), min(math.ceil(turns[1]), 2 * pairs - 1)
            share = np.clip((np.arange(pairs) - low) / max(high - low, 0.001), 0, 1)
            frequencies = (1 - share) * frequencies + share * frequencies / factor
            amplitude *= 1 + 0.1 * math.log(factor)
        return frequencies, amplitude

    def _feed_forward(self, layer: int, x: F32) -> F32:
        """SwiGLU, GeGLU in the Gemmas. x: f32[T, D] -> f32[T, D]"""
        block = f"blk.{layer}"
        if f"{block}.ffn_gate.weight" in self.weights:
            gate, up = self._linear(x, f"{block}.ffn_gate"), self._linear(x, f"{block}.ffn_up")
        else:
            gate, up = np.split(self._linear(x, f"{block}.ffn_up"), 2, axis=1)
        if self.architecture in GEMMAS:
            cubic = np.float32(math.sqrt(2 / math.pi)) * (gate + np.float32(0.044715) * gate**3)
            return self._linear(gate * np.float32(0.5) * (1 + np.tanh(cubic)) * up, f"{block}.ffn_down")
        return self._linear(gate / (1 + np.exp(-gate)) * up, f"{block}.ffn_down")


def dequantised(file: GGUFFile, name: str) -> F32:
    """The tensor in f32, in its own shape."""
    tensor = file.tensors[name]
    if isinstance(tensor.type, RowType):  # the package does not know them
        return tensor.type.format.dequantise(file.data(name)).reshape(tensor.shape)
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
