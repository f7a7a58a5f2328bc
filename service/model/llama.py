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
import numpy.typing as npt

from kernels.attention.program import AttentionOp, AttentionShape, AttentionWorkspace
from kernels.attention.variants import AttentionVariant
from kernels.jit.library import KernelLibrary
from kernels.matmul import MatmulOp
from kernels.ops.embedding import EmbeddingOp
from kernels.ops.lhs_pack import LhsPackOp, LhsRows, NormedRows, PlainRows, SwigluRows
from kernels.ops.rope_kv import Columns, RopeKvOp
from kernels.ops.rope_table import RopeTable
from kernels.ops.sampling import SampleOp
from kernels.runtime.program import Buffer, Program, ProgramBuilder
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
        self.table = RopeTable.make(limits.max_context, config.rope_dim, config.rope_base, split=False)
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
        delta = None if index == 0 else self.delta
        self._pack("attn_norm", self._normed(layer.attention_norm, delta), layer.qkv)
        self._matmul("attn_qkv", layer.qkv, self.qkv)
        kv = self.kv.layer_address(index)
        keys = config.query_columns
        rope = RopeKvOp(
            "rope_kv",
            q=Columns(self.qkv),
            k=Columns(self.qkv, keys),
            v=Columns(self.qkv, keys + config.kv_columns),
            kv=kv,
            table=self.table,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
        )
        rope.add(self.builder)
        attention = AttentionOp(
            "attention", self.shape, self.attention_variant, self.qkv, kv, self.attended, self.workspace
        )
        attention.add(self.builder, self.library)
        self._pack("attn_pack", PlainRows(self.attended), layer.attention_output)
        self._matmul("attn_output", layer.attention_output, self.delta)

    def _feed_forward(self, index: int) -> None:
        layer = self.weights.layers[index]
        self._pack("ffn_norm", self._normed(layer.feed_forward_norm, self.delta), layer.gate_up)
        self._matmul("ffn_gate_up", layer.gate_up, self.gate_up)
        self._pack("ffn_swiglu", SwigluRows(self.gate_up), layer.down)
        self._matmul("ffn_down", layer.down, self.delta)

    def _sample(self) -> None:
        self._pack("output_norm", self._normed(self.weights.output_norm, self.delta), self.weights.output)
        self._matmul("output", self.weights.output, self.logits)
        SampleOp("sample", self.logits).add(self.builder)

    def _normed(self, weight: npt.NDArray[np.float32], delta: Buffer | None) -> NormedRows:
        return NormedRows(self.x, int(weight.ctypes.data), self.config.norm_eps, delta)

    def _pack(self, name: str, rows: LhsRows, matrices: tuple[PackedMatrix, ...]) -> None:
        matrix = matrices[0].matrix  # all of them share one LHS layout
        is_logits = matrices is self.weights.output
        LhsPackOp(name, matrix.choice, rows, matrix.k, self.lhs, is_logits).add(self.builder, self.library)

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
