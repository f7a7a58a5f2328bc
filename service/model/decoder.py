"""The words that architectures are written in: embed, norm, matmul, rope, attention, residual, logits.

An architecture calls them in the order of its paper (service/model/architectures). Each call checks the tensors it
needs and notes its ops; `build` turns the notes into a program once the weights are packed. The residual stream x is a
buffer; what is to be added to it waits until the next norm, which adds, normalises and packs in one op. Knows no file
format and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kernels.attention.program import AttentionOp, AttentionShape, AttentionWorkspace
from kernels.attention.variants import AttentionVariant
from kernels.jit.library import KernelLibrary
from kernels.matmul import MatmulOp
from kernels.ops.embedding import EmbeddingOp
from kernels.ops.lhs_pack import GegluRows, LhsPackOp, LhsRows, NormedRows, PlainRows, SwigluRows
from kernels.ops.rope_kv import Columns, RopeKvOp
from kernels.ops.rope_table import RopeTable
from kernels.ops.sampling import SampleOp
from kernels.ops.soft_cap import SoftCapOp
from kernels.runtime.kv_types import KVType
from kernels.runtime.program import Buffer, Program, ProgramBuilder
from service.gguf.reader import TensorInfo
from service.model.config import ModelConfig, StepLimits
from service.model.fields import ArchitectureFields
from service.model.kv_cache import KVCache
from service.model.packing import Provide
from service.model.rope import rope_table
from service.model.tensors import Floats, TensorSource
from service.model.weights import PackedMatrix, WeightPlanner, Weights


@dataclass(frozen=True, slots=True)
class Product:
    """f32[T, n] as a matmul leaves it; `bias` f32[n] is still to be added by whoever reads it."""

    rows: Buffer
    bias: Floats | None

    @property
    def bias_address(self) -> int:
        return 0 if self.bias is None else int(self.bias.ctypes.data)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the noted ops need of the rest of the model."""

    weights: Weights
    kv: KVCache
    attention: AttentionVariant
    library: KernelLibrary
    lhs: Buffer
    workspace: AttentionWorkspace


class Decoder:
    """One model being written down. `layer`: index of the layer that the words speak of."""

    def __init__(
        self,
        config: ModelConfig,
        fields: ArchitectureFields,
        tensors: TensorSource,
        planner: WeightPlanner,
        limits: StepLimits,
    ) -> None:
        self.config, self.fields, self.layer = config, fields, 0
        self._tensors, self._planner, self._limits = tensors, planner, limits
        self._builder = ProgramBuilder()
        self._buffers: dict[str, Buffer] = {}
        self._notes: list[Callable[[Parts], None]] = []
        self._x = self._buffer("x", config.embedding)
        self._delta: Product | None = None
        self._delta_norm = 0
        self._embedding: TensorInfo | None = None
        self._shapes: dict[AttentionShape, None] = {}
        self._shape = AttentionShape(config.num_heads, config.num_kv_heads, config.head_dim, 1.0)

    # -- the words

    def embed(self, scale: float = 1.0) -> None:
        """x = scale * embedding[token_ids]"""
        embedding = self._tensors.matrix("token_embd.weight", None, self.config.embedding)
        self._embedding = embedding
        rows = self._tensors.file.data(embedding.name)
        self._builder.keep(rows)
        op = EmbeddingOp("embed", embedding.type.name, int(rows.ctypes.data), embedding.num_rows, self._x, scale)
        self._notes.append(lambda parts: op.add(self._builder))

    def layers(self) -> Iterator[int]:
        for index in range(self.config.num_layers):
            self.layer = index
            yield index

    def norm(self, name: str) -> NormedRows:
        """x += what waits; the RMS norm of x, by a weight of this layer or of the model."""
        in_layer = not name.startswith("output")
        weight = self._vector(f"{self._block if in_layer else ''}{name}.weight", self.config.embedding)
        delta, norm, self._delta, self._delta_norm = self._delta, self._delta_norm, None, 0
        rows = NormedRows(self._x, weight, self.config.norm_eps)
        return rows if delta is None else replace(rows, delta=delta.rows, bias=delta.bias_address, delta_norm=norm)

    def matmul(self, op: str, rows: LhsRows, **columns: int) -> Product:
        """rows times the tensors of these names side by side, each with so many columns of the result."""
        return self._matmul(op, rows, self._buffer(op, sum(columns.values())), columns)

    def qkv(self, rows: LhsRows) -> Product:
        """Queries, keys, values: three tensors, or one where the file has them fused."""
        c = self.config
        if self._tensors.find(f"{self._block}attn_qkv.weight") is not None:
            return self.matmul("attn_qkv", rows, attn_qkv=c.query_columns + 2 * c.kv_columns)
        return self.matmul("attn_qkv", rows, attn_q=c.query_columns, attn_k=c.kv_columns, attn_v=c.kv_columns)

    @property
    def max_context(self) -> int:
        return self._limits.max_context

    def rope(
        self, *, split: bool, base: float | None = None, factors: str | None = None, unused: str | None = None
    ) -> RopeTable:
        """`split`: pairs (i, i + rope_dim/2) instead of (2i, 2i+1). `base`: of these layers, without any scaling.
        `factors`: the tensor of factors, where the file has it; `unused`: the one for contexts of another length.
        """
        if unused is not None:
            self._tensors.find(f"{unused}.weight")
        c, positions = self.config, self._limits.max_context
        if base is not None:
            return RopeTable.make(positions, c.rope_dim, base, split)
        divisors = None if factors is None else self._tensors.vector_if_any(f"{factors}.weight", c.rope_dim // 2)
        return rope_table(self.fields, c, positions, split=split, factors=divisors)

    def rope_kv(self, qkv: Product, table: RopeTable, *, q_norm: str | None = None, k_norm: str | None = None) -> None:
        """Biases, norms of the heads of q and k, rotation; keys and values go to the cache."""
        c = self.config
        norms = [
            0 if name is None else self._vector(f"{self._block}{name}.weight", c.head_dim) for name in (q_norm, k_norm)
        ]
        layer = self.layer

        def note(parts: Parts) -> None:
            RopeKvOp(
                "rope_kv",
                q=Columns(qkv.rows),
                k=Columns(qkv.rows, c.query_columns),
                v=Columns(qkv.rows, c.query_columns + c.kv_columns),
                kv=parts.kv.layer(layer),
                table=table,
                num_heads=c.num_heads,
                num_kv_heads=c.num_kv_heads,
                head_dim=c.head_dim,
                bias=qkv.bias_address,
                q_norm=norms[0],
                k_norm=norms[1],
                eps=c.norm_eps,
                kv_type=parts.kv.layout.kv_type,
            ).add(self._builder)

        self._notes.append(note)

    def attention(
        self, qkv: Product, *, scale: float, window: int | None = None, soft_cap: float | None = None
    ) -> PlainRows:
        """softmax(scale * q k) v over the cache: over all tokens so far, or the last `window`."""
        shape = replace(self._shape, scale=scale, window=window, soft_cap=soft_cap)
        self._shapes[shape] = None
        attended, layer = self._buffer("attended", self.config.query_columns), self.layer

        def note(parts: Parts) -> None:
            kv = parts.kv.layer(layer)
            typed = replace(shape, kv=parts.kv.layout.kv_type)
            op = AttentionOp("attention", typed, parts.attention, qkv.rows, kv, attended, parts.workspace)
            op.add(self._builder, parts.library)

        self._notes.append(note)
        return PlainRows(attended)

    def swiglu(self, gate_up: Product) -> SwigluRows:
        return SwigluRows(gate_up.rows, gate_up.bias_address)

    def geglu(self, gate_up: Product) -> GegluRows:
        return GegluRows(gate_up.rows, gate_up.bias_address)

    def residual(self, op: str, rows: LhsRows, *, norm: str | None = None) -> None:
        """x += rows times the tensor named like the op, after a norm of its own if one is named."""
        assert self._delta is None, "the residual before has not been added"
        self._delta = self._matmul(op, rows, self._buffer("delta", self.config.embedding), {op: self.config.embedding})
        if norm is not None:
            self._delta_norm = self._vector(f"{self._block}{norm}.weight", self.config.embedding)

    def logits(self, rows: NormedRows, *, soft_cap: float | None = None) -> None:
        """rows times the output tensor, or the embedding where there is none; then a token is sampled."""
        embedding = self._embedding
        assert embedding is not None, "nothing was embedded"
        output = self._tensors.find("output.weight")
        if output is not None:
            self._tensors.matrix("output.weight", embedding.num_rows, self.config.embedding)
        shape = (self._limits.max_batch, embedding.num_rows)
        logits = self._builder.buffer("logits", np.float32, shape, is_spread=True)
        index = self._planner.plan("output", (output or embedding,))
        self._notes.append(lambda parts: self._emit_matmul(parts, index, rows, "output_norm", logits, is_logits=True))
        if soft_cap is not None:
            cap = SoftCapOp("soft_cap", logits, soft_cap)
            self._notes.append(lambda parts: cap.add(self._builder))
        self._notes.append(lambda parts: SampleOp("sample", logits).add(self._builder))

    # -- what comes of them

    def pack(self, provide: Provide) -> Weights:
        """Refuses a file with tensors that no word asked for, then has those of the matmuls packed."""
        assert self._embedding is not None, "nothing was embedded"
        self._tensors.refuse_unused(self.fields.architecture, self.config.num_layers)
        return self._planner.pack(self._embedding, provide)

    def attention_shapes(self, kv_type: KVType) -> tuple[AttentionShape, ...]:
        """Those that layers differ in."""
        return tuple(replace(shape, kv=kv_type) for shape in self._shapes)

    def build(self, weights: Weights, kv: KVCache, attention: AttentionVariant, library: KernelLibrary) -> Program:
        limits, builder = self._limits, self._builder
        lhs = builder.buffer("lhs", np.uint8, (self._planner.lhs_bytes(limits.max_tokens),))
        workspace = AttentionWorkspace.reserve(builder, self._shape, limits.max_context, limits.num_threads)
        parts = Parts(weights, kv, attention, library, lhs, workspace)
        for note in self._notes:
            note(parts)
        builder.keep(weights, kv)
        return builder.build()

    # -- how

    @property
    def _block(self) -> str:
        return f"blk.{self.layer}."

    def _buffer(self, name: str, columns: int) -> Buffer:
        """f32[T, columns], the same in every layer."""
        if name not in self._buffers:
            shape = (self._limits.max_tokens, columns)
            self._buffers[name] = self._builder.buffer(name, np.float32, shape, is_spread=True)
        return self._buffers[name]

    def _vector(self, name: str, size: int) -> int:
        """Its address."""
        vector = self._tensors.vector(name, size)
        self._builder.keep(vector)
        return int(vector.ctypes.data)

    def _matmul(self, op: str, rows: LhsRows, dst: Buffer, columns: dict[str, int]) -> Product:
        k = rows.x.shape[1] // (2 if isinstance(rows, SwigluRows) else 1)
        tensors = [self._tensors.matrix(f"{self._block}{name}.weight", n, k) for name, n in columns.items()]
        index = self._planner.plan(op, tensors)
        self._notes.append(lambda parts: self._emit_matmul(parts, index, rows, PACK_OPS[op], dst, is_logits=False))
        return Product(dst, self._bias(columns))

    def _bias(self, columns: dict[str, int]) -> Floats | None:
        """Side by side like the tensors; zeros for those that have none, None if all have none."""
        found = [self._tensors.vector_if_any(f"{self._block}{name}.bias", n) for name, n in columns.items()]
        if all(bias is None for bias in found):
            return None
        whole = [
            np.zeros(n, np.float32) if bias is None else bias for bias, n in zip(found, columns.values(), strict=True)
        ]
        bias = np.concatenate(whole)
        self._builder.keep(bias)
        return bias

    def _emit_matmul(self, parts: Parts, index: int, rows: LhsRows, pack: str, dst: Buffer, *, is_logits: bool) -> None:
        """The activations are packed once for each layout that the matrices read."""
        matmul = parts.weights.matmuls[index]
        by_lhs: dict[object, list[PackedMatrix]] = {}
        for packed in matmul.matrices:
            by_lhs.setdefault(packed.matrix.choice.lhs_layouts, []).append(packed)
        for matrices in by_lhs.values():
            first = matrices[0].matrix
            LhsPackOp(pack, first.choice, rows, first.k, parts.lhs, is_logits).add(self._builder, parts.library)
            rows = rows.again()
            for packed in matrices:
                matrix = packed.matrix
                op = MatmulOp(
                    matmul.op,
                    matrix.choice,
                    packed.data,
                    matrix.n,
                    matrix.k,
                    parts.lhs,
                    dst,
                    column=matrix.column,
                    is_logits=is_logits,
                )
                op.add(self._builder, parts.library, self._limits.num_threads)


PACK_OPS = {"attn_qkv": "attn_norm", "attn_output": "attn_pack", "ffn_gate_up": "ffn_norm", "ffn_down": "ffn_act"}
"""The op that makes and packs a matmul's activations, by the matmul's name."""
