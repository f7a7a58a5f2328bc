"""The sizes of a decoder-only transformer, read from GGUF metadata and checked before anyone trusts them.

What only one architecture knows (windows, soft caps) is read by its own file. Source of the keys: the GGUF
specification, "LLM" section.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import ModelFileError
from service.model.fields import MAX_SIZE, ArchitectureFields

__all__ = ["MAX_SIZE", "ModelConfig", "StepLimits", "read_config"]

LANES = 16  # of the vectors that rows are computed in


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes that every architecture has: RMSNorm, rotary positions, grouped queries, a gated feed-forward part."""

    name: str
    num_layers: int
    embedding: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_dim: int
    feed_forward: int
    context: int
    norm_eps: float
    rope_base: float

    @property
    def query_columns(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_columns(self) -> int:
        return self.num_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What the buffers are sized for."""

    max_tokens: int
    max_batch: int
    max_context: int
    num_threads: int


def fields_of(metadata: Mapping[str, object]) -> ArchitectureFields:
    return ArchitectureFields(metadata, f"{metadata.get('general.architecture')}.")


def read_config(metadata: Mapping[str, object]) -> ModelConfig:
    """Raises ModelFileError for a missing key, a wrong type, or sizes that contradict each other."""
    read = fields_of(metadata)
    num_heads = read.size("attention.head_count")
    embedding = read.size("embedding_length")
    num_kv_heads = read.size("attention.head_count_kv", default=num_heads)
    if num_heads % num_kv_heads:
        raise ModelFileError(f"{num_heads} query heads cannot share {num_kv_heads} key-value heads evenly")
    if not read.has("attention.key_length") and embedding % num_heads:
        raise ModelFileError(f"an embedding of {embedding} cannot be divided among {num_heads} heads")
    head_dim = read.size("attention.key_length", default=embedding // num_heads)
    feed_forward = read.size("feed_forward_length")
    for what, size in (("embedding_length", embedding), ("head size", head_dim), ("feed_forward_length", feed_forward)):
        if size % LANES:
            raise ModelFileError(f"{read.architecture}: {what} is {size}; it has to be a multiple of {LANES}")
    if read.size("attention.value_length", default=head_dim) != head_dim:
        raise ModelFileError("keys and values of different lengths are not supported")
    rope_dim = read.size("rope.dimension_count", default=head_dim)
    if rope_dim > head_dim or rope_dim % 2:
        raise ModelFileError(f"rope.dimension_count is {rope_dim}; it has to be even and at most {head_dim}")
    return ModelConfig(
        name=str(metadata.get("general.name", "model"))[:256],
        num_layers=read.size("block_count"),
        embedding=embedding,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rope_dim=rope_dim,
        feed_forward=feed_forward,
        context=read.size("context_length", most=1 << 24),
        norm_eps=read.number("attention.layer_norm_rms_epsilon", least=1e-12, most=1.0),
        rope_base=read.number("rope.freq_base", least=1.0, most=1e12, default=10000.0),
    )
