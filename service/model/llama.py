"""The llama architecture as a program: the flat list of ops of one step. Knows no file and no request.

    x = embedding[token_ids]
    for each layer:
        q, k, v = matmul(rms_norm(x));  rope(q, k);  k, v -> cache
        x += matmul(attention(q, cache))
        x += matmul(silu(gate) * up),  gate, up = matmul(rms_norm(x))
    sample(matmul(rms_norm(x[logit_rows])))

Norms, the residual adds before them, and SwiGLU are computed while the next matmul's LHS is quantised and packed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.attention.program import AttentionOp, AttentionShape, AttentionWorkspace
from kernels.attention.variants import AttentionVariant
from kernels.jit.library import KernelLibrary
from kernels.matmul import MatmulOp
from kernels.ops.embedding import EmbeddingOp
from kernels.ops.lhs_pack import NormPackOp, PackOp, SwigluPackOp
from kernels.ops.rope_kv import RopeKVOp, rope_table
from kernels.ops.sampling import SamplingOp
from kernels.runtime.program import Buffer, Program, ProgramBuilder
from kernels.select import MatmulChoice
from service.model.config import LlamaConfig
from service.model.kv_cache import KVCache
from service.model.weights import PackedMatrix, Weights


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What the buffers are sized for."""

    max_tokens: int
    max_batch: int
    max_context: int
    num_threads: int


def build_llama(
    config: LlamaConfig,
    weights: Weights,
    kv: KVCache,
    limits: StepLimits,
    attention: AttentionVariant,
    library: KernelLibrary,
) -> Program:
    return _LlamaBuilder(config, weights, kv, limits, attention, library).build()


class _LlamaBuilder:
    """The buffers that all layers share, and the ops in the order of a step."""

    def __init__(
        self,
        config: LlamaConfig,
        weights: Weights,
        kv: KVCache,
        limits: StepLimits,
        attention: AttentionVariant,
        library: KernelLibrary,
    ) -> None:
        self.config, self.weights, self.kv, self.limits = config, weights, kv, limits
        self.attention_variant, self.library = attention, library
        self.shape = AttentionShape(config.num_heads, config.num_kv_heads, config.head_dim, config.head_dim**-0.5)
        self.table = rope_table(limits.max_context, config.rope_dim, config.rope_base)
        self.builder = builder = ProgramBuilder()
        rows = limits.max_tokens
        qkv_columns = config.query_columns + 2 * config.kv_columns
        self.x = builder.buffer("x", np.float32, (rows, config.embedding))
        self.delta = builder.buffer("delta", np.float32, (rows, config.embedding))
        self.qkv = builder.buffer("qkv", np.float32, (rows, qkv_columns))
        self.attended = builder.buffer("attended", np.float32, (rows, config.query_columns))
        self.gate_up = builder.buffer("gate_up", np.float32, (rows, 2 * config.feed_forward))
        self.logits = builder.buffer("logits", np.float32, (limits.max_batch, weights.embedding.num_rows))
        self.lhs = builder.buffer("lhs", np.uint8, (self._lhs_bytes(),))
        self.workspace = AttentionWorkspace.reserve(builder, self.shape, limits.max_context, limits.num_threads)

    def build(self) -> Program:
        embedding = self.weights.embedding
        rows = int(self.weights.embedding_rows.ctypes.data)
        EmbeddingOp("embed", embedding.type.name, rows, embedding.num_rows, self.x).add(self.builder)
        for index in range(self.config.num_layers):
            self._attention(index)
            self._feed_forward(index)
        self._sample()
        self.builder.keep(self.weights, self.kv)
        return self.builder.build()

    def _attention(self, index: int) -> None:
        layer, config = self.weights.layers[index], self.config
        self._norm_pack("attn_norm", layer.attention_norm, layer.qkv, None if index == 0 else self.delta)
        self._matmul("attn_qkv", layer.qkv, self.qkv)
        kv = self.kv.layer_address(index)
        RopeKVOp("rope_kv", config.num_heads, config.num_kv_heads, config.head_dim, self.qkv, kv, self.table).add(
            self.builder
        )
        AttentionOp("attention", self.shape, self.attention_variant, self.qkv, kv, self.attended, self.workspace).add(
            self.builder, self.library
        )
        choice = _choice(layer.attention_output)
        PackOp("attn_pack", self.attended, choice, self.lhs).add(self.builder, self.library)
        self._matmul("attn_output", layer.attention_output, self.delta)

    def _feed_forward(self, index: int) -> None:
        layer = self.weights.layers[index]
        self._norm_pack("ffn_norm", layer.feed_forward_norm, layer.gate_up, self.delta)
        self._matmul("ffn_gate_up", layer.gate_up, self.gate_up)
        SwigluPackOp("ffn_swiglu", self.gate_up, _choice(layer.down), self.lhs).add(self.builder, self.library)
        self._matmul("ffn_down", layer.down, self.delta)

    def _sample(self) -> None:
        self._norm_pack("output_norm", self.weights.output_norm, self.weights.output, self.delta, sampled_rows=True)
        self._matmul("output", self.weights.output, self.logits)
        SamplingOp("sample", self.logits).add(self.builder)

    def _norm_pack(
        self,
        name: str,
        weight: np.ndarray[tuple[int], np.dtype[np.float32]],
        matrices: tuple[PackedMatrix, ...],
        delta: Buffer | None,
        sampled_rows: bool = False,
    ) -> None:
        op = NormPackOp(
            name,
            x=self.x,
            delta=delta,
            weight=int(weight.ctypes.data),
            eps=self.config.norm_eps,
            choice=_choice(matrices),
            lhs=self.lhs,
            sampled_rows=sampled_rows,
        )
        op.add(self.builder, self.library)

    def _matmul(self, name: str, matrices: tuple[PackedMatrix, ...], dst: Buffer) -> None:
        for packed in matrices:
            matrix = packed.matrix
            op = MatmulOp(
                name,
                matrix.choice,
                packed.data,
                matrix.n,
                matrix.k,
                self.lhs,
                dst,
                column=matrix.column,
                is_logits=dst is self.logits,
            )
            op.add(self.builder, self.library, self.limits.num_threads)

    def _lhs_bytes(self) -> int:
        """The largest packed LHS of any matmul."""
        sizes = [0]
        for packed in self.weights.matrices():
            for variant in (packed.matrix.choice.gemm, packed.matrix.choice.gemv):
                num_panels = -(-self.limits.max_tokens // variant.lhs.mr)
                sizes.append(num_panels * variant.lhs.panel_bytes(packed.matrix.k))
        return max(sizes)


def _choice(matrices: tuple[PackedMatrix, ...]) -> MatmulChoice:
    """Whose LHS layout all of them share."""
    return matrices[0].matrix.choice
