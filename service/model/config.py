"""The numbers of a llama architecture, read from GGUF metadata and checked before anyone trusts them.

Source of the keys: the GGUF specification, "LLM" section.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import ModelFileError

ARCHITECTURES = ("llama",)
LANES = 16  # of the vectors that rows are computed in
MAX_SIZE = 1 << 20  # of any dimension; far above every model, far below what overflows


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Sizes of a decoder-only transformer with RMSNorm, rotary positions, grouped queries and SwiGLU."""

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


def read_config(metadata: Mapping[str, object]) -> LlamaConfig:
    """Raises ModelFileError for a missing key, a wrong type, or sizes that contradict each other."""
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelFileError(f"general.architecture is {str(architecture)[:64]!r}; supported are {known}")
    read = _Reader(metadata, f"{architecture}.")
    num_heads = read.size("attention.head_count")
    embedding = read.size("embedding_length")
    num_kv_heads = read.size("attention.head_count_kv", default=num_heads)
    if num_heads % num_kv_heads:
        raise ModelFileError(f"{num_heads} query heads cannot share {num_kv_heads} key-value heads evenly")
    if "llama.attention.key_length" not in metadata and embedding % num_heads:
        raise ModelFileError(f"an embedding of {embedding} cannot be divided among {num_heads} heads")
    head_dim = read.size("attention.key_length", default=embedding // num_heads)
    feed_forward = read.size("feed_forward_length")
    for what, size in (("embedding_length", embedding), ("head size", head_dim), ("feed_forward_length", feed_forward)):
        if size % LANES:
            raise ModelFileError(f"{architecture}: {what} is {size}; it has to be a multiple of {LANES}")
    if read.size("attention.value_length", default=head_dim) != head_dim:
        raise ModelFileError("keys and values of different lengths are not supported")
    rope_dim = read.size("rope.dimension_count", default=head_dim)
    if rope_dim > head_dim or rope_dim % 2:
        raise ModelFileError(f"rope.dimension_count is {rope_dim}; it has to be even and at most {head_dim}")
    if read.text("rope.scaling.type", default="none") not in ("none", ""):
        raise ModelFileError(f"rope scaling {read.text('rope.scaling.type', default='')!r} is not supported")
    return LlamaConfig(
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


@dataclass(frozen=True, slots=True)
class _Reader:
    metadata: Mapping[str, object]
    prefix: str

    def size(self, key: str, default: int | None = None, most: int = MAX_SIZE) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ModelFileError(f"{self.prefix}{key} is {str(value)[:64]}; it has to be an integer from 1 to {most}")
        return value

    def number(self, key: str, least: float, most: float, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ModelFileError(f"{self.prefix}{key} is {str(value)[:64]}; it has to lie from {least} to {most}")
        return float(value)

    def text(self, key: str, default: str) -> str:
        return str(self._value(key, default))[:64]

    def _value(self, key: str, default: object) -> object:
        value = self.metadata.get(self.prefix + key, default)
        if value is None:
            raise ModelFileError(f"the metadata lacks {self.prefix}{key}")
        return value
