"""A llama's forward pass in f32 by NumPy's BLAS, as fast as that goes: the yardstick that needs no micro-kernel.

Weights are dequantised once, query, key and value side by side, gate and up likewise; every product is written into a
buffer made beforehand; keys and values stay in a cache. One sequence. Reads commands from stdin, a line each:
`prefill N` and `decode N` answer with seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from service.gguf.reader import GGUFFile, open_gguf
from service.model.config import ModelConfig, read_config

F32 = npt.NDArray[np.float32]


class NumpyLlama:
    """x: f32[T, D] rows of one sequence, keys and values f32[layers, heads, context, head_dim]."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        with open_gguf(path) as file:
            self.config = c = read_config(file.metadata)
            layers = range(c.num_layers)
            self.embedding = _matrix(file, "token_embd")
            self.output = _matrix(file, "output") if "output.weight" in file.tensors else self.embedding
            self.qkv = [_beside(file, i, "attn_q", "attn_k", "attn_v") for i in layers]
            self.mixed = [_beside(file, i, "attn_output") for i in layers]
            self.gate_up = [_beside(file, i, "ffn_gate", "ffn_up") for i in layers]
            self.down = [_beside(file, i, "ffn_down") for i in layers]
            self.norms = [[_vector(file, f"blk.{i}.{name}") for name in ("attn_norm", "ffn_norm")] for i in layers]
            self.output_norm = _vector(file, "output_norm")
        self.keys = np.zeros((c.num_layers, c.num_kv_heads, max_tokens, c.head_dim), np.float32)
        self.values = np.zeros_like(self.keys)
        self.cos, self.sin = _rotations(c, max_tokens)
        self.buffers: dict[tuple[int, int], F32] = {}

    def logits(self, token_ids: npt.NDArray[np.int64], start: int) -> F32:
        """Of the last token -> f32[V]; `start`: tokens that the cache holds."""
        x = self.embedding[token_ids]
        for layer, (attention_norm, feed_forward_norm) in enumerate(self.norms):
            qkv = self._product(self._norm(x, attention_norm), self.qkv[layer])
            x += self._product(self._attention(layer, qkv, start), self.mixed[layer])
            both = self._product(self._norm(x, feed_forward_norm), self.gate_up[layer])
            gate, up = both[:, : self.config.feed_forward], both[:, self.config.feed_forward :]
            x += self._product(gate / (1 + np.exp(-gate)) * up, self.down[layer])
        logits: F32 = self._norm(x[-1:], self.output_norm) @ self.output.T
        return logits

    def _product(self, x: F32, weights: F32) -> F32:
        shape = (x.shape[0], weights.shape[0])
        return np.matmul(x, weights.T, out=self.buffers.setdefault(shape, np.empty(shape, np.float32)))

    def _norm(self, x: F32, weight: F32) -> F32:
        square = np.einsum("td,td->t", x, x) / np.float32(x.shape[1])
        return np.asarray(x * (1 / np.sqrt(square + np.float32(self.config.norm_eps)))[:, None] * weight, np.float32)

    def _attention(self, layer: int, qkv: F32, start: int) -> F32:
        c, count = self.config, qkv.shape[0]
        stop = start + count
        q, k, v = np.split(qkv, [c.query_columns, c.query_columns + c.kv_columns], axis=1)
        q, k, v = (part.reshape(count, -1, c.head_dim).transpose(1, 0, 2) for part in (q, k, v))
        self.keys[layer, :, start:stop] = self._rotated(k, start)
        self.values[layer, :, start:stop] = v
        group = c.num_heads // c.num_kv_heads
        q = self._rotated(q, start).reshape(c.num_kv_heads, group * count, c.head_dim)
        scores = q @ self.keys[layer, :, :stop].transpose(0, 2, 1) * np.float32(c.head_dim**-0.5)
        if count > 1:
            unseen = np.triu(np.full((count, stop), -np.inf, np.float32), start + 1)
            scores.reshape(c.num_kv_heads, group, count, stop)[:] += unseen
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        out = (scores @ self.values[layer, :, :stop]).reshape(c.num_heads, count, c.head_dim)
        return np.asarray(out.transpose(1, 0, 2).reshape(count, -1), np.float32)

    def _rotated(self, x: F32, start: int) -> F32:
        """x: f32[heads, T, head_dim], pairs of neighbours turned."""
        cos, sin = (table[start : start + x.shape[1]] for table in (self.cos, self.sin))
        even, odd = x[..., 0::2], x[..., 1::2]
        made = np.empty_like(x)
        made[..., 0::2] = even * cos - odd * sin
        made[..., 1::2] = even * sin + odd * cos
        return made


def _rotations(c: ModelConfig, max_tokens: int) -> tuple[F32, F32]:
    frequencies = c.rope_base ** (-np.arange(0, c.head_dim, 2) / c.head_dim)
    angles = np.arange(max_tokens)[:, None] * frequencies[None, :]
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _matrix(file: GGUFFile, name: str) -> F32:
    tensor = file.tensors[f"{name}.weight"]
    kind = gguf.GGMLQuantizationType[tensor.type.name]
    return np.asarray(gguf.dequantize(file.data(tensor.name), kind).reshape(tensor.shape), np.float32)


def _beside(file: GGUFFile, layer: int, *names: str) -> F32:
    return np.concatenate([_matrix(file, f"blk.{layer}.{name}") for name in names])


def _vector(file: GGUFFile, name: str) -> F32:
    return np.array(file.data(f"{name}.weight").reshape(-1).view(np.float32))


def main() -> None:
    model = NumpyLlama(Path(sys.argv[1]), int(sys.argv[2]))
    random = np.random.default_rng(1)
    for line in sys.stdin:
        what, count = line.split()[0], int(line.split()[1])
        tokens = random.integers(0, model.embedding.shape[0], count)
        begun = time.perf_counter()
        if what == "prefill":
            model.logits(tokens, 0)
        else:
            for position in range(count):
                model.logits(tokens[position : position + 1], position)
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
