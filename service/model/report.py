"""What a start found and chose, as lines for people. Measures nothing."""

from __future__ import annotations

from kernels.attention.variants import AttentionVariant
from kernels.cpu import CPU
from kernels.runtime.abi import BLOCK_TOKENS
from service.model.config import ModelConfig, StepLimits
from service.model.kv_cache import KVCache
from service.model.weights import PackedMatrix, Weights

MIB = 1 << 20


def describe(
    cpu: CPU, config: ModelConfig, weights: Weights, kv: KVCache, limits: StepLimits, attention: AttentionVariant
) -> list[str]:
    """CPU, features, threads, model, KV cache, then one line per op with its micro-kernels and why."""
    shown = sorted(cpu.features & attention.rung.needs | _rung_features(weights))
    layout = kv.layout
    head_dim = config.head_dim
    lines = [
        f"cpu      {cpu.name} ({cpu.arch}), features used: {', '.join(shown) or 'none'}",
        f"threads  {limits.num_threads}",
        f"model    {config.name}: {config.num_layers} layers, embedding {config.embedding}, "
        f"{config.num_heads} heads over {config.num_kv_heads}, packed weights {weights.packed_bytes / MIB:.0f} MiB",
        f"kv       {layout.kv_type.name}, {layout.num_blocks} blocks of {BLOCK_TOKENS} tokens, "
        f"up to {layout.num_bytes / MIB:.0f} MiB; "
        f"context {limits.max_context}{f' of {config.context}' if config.context > limits.max_context else ''}",
    ]
    for name in weights.ops():
        lines += [_matmul_line(name, packed) for packed in weights.of(name)[0]]
    many = attention.wide_tile(head_dim, kv=layout.kv_type)
    few = attention.tile(head_dim, kv=layout.kv_type)
    decode = attention.decode_tile(head_dim, config.num_heads // config.num_kv_heads, kv=layout.kv_type)
    lines.append(
        f"op {'attention':<12} prefill {many.name}, of few rows {few.name}, decode {decode.name} "
        f"({attention.rung.name})"
    )
    return lines


def _matmul_line(name: str, packed: PackedMatrix) -> str:
    matrix, choice = packed.matrix, packed.matrix.choice
    types = "+".join(tensor.type.name for tensor in matrix.tensors)
    return (
        f"op {name:<12} {types} {matrix.n} x {matrix.k}: GEMM {choice.gemm.name} ({choice.gemm_reason}), "
        f"GEMV {choice.gemv.name} ({choice.gemv_reason}); {choice.reason}"
    )


def _rung_features(weights: Weights) -> frozenset[str]:
    return frozenset().union(*(packed.matrix.choice.rung.needs for packed in weights.matrices()))
