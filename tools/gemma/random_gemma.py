"""Writes GGUF files of Gemma 2B's shapes with random codes, int8 or mixed: to measure speed. It answers nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from kernels.quant.channel import ChannelFormat
from kernels.quant.random_rows import random_weights
from service.gguf.row_types import GGML_I8, NAMES_KEY, PREFIX, TYPES_KEY, VERSION, VERSION_KEY, RowType
from service.quantise.recipe import Wish
from tools.peer.random_model import Shape, add_tokenizer, matrices

GEMMA_2B = Shape(18, 2048, 16384, 8, 1, 256, 256_000, 10_000.0)
TINY = Shape(2, 256, 512, 4, 1, 64, 512, 10_000.0)
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    rows: int
    columns: int
    deviation: float
    format: ChannelFormat


def write(path: Path, shape: Shape, kind: str) -> None:
    """kind: a recipe of types of our own, qc8 or mixed48. Beside its name first; renamed when it is whole."""
    tensors = list(_tensors(shape, kind))
    unfinished = path.with_name(f"{path.name}.unfinished")
    writer = gguf.GGUFWriter(unfinished, "gemma")
    writer.add_name(f"Gemma of {shape.layers} layers, random, {kind}")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    add_tokenizer(writer, shape.vocabulary)
    writer.add_uint32(VERSION_KEY, VERSION)
    writer.add_array(NAMES_KEY, [tensor.name for tensor in tensors])
    writer.add_array(TYPES_KEY, [tensor.format.name.removeprefix(PREFIX) for tensor in tensors])
    for tensor in tensors:
        bytes_shape = (tensor.rows, tensor.format.row_bytes(tensor.columns))
        i8 = gguf.GGMLQuantizationType(GGML_I8)
        writer.add_tensor_info(tensor.name, bytes_shape, np.dtype(np.int8), int(np.prod(bytes_shape)), i8)
    norms = [f"blk.{layer}.{name}.weight" for layer in range(shape.layers) for name in ("attn_norm", "ffn_norm")]
    norms.append("output_norm.weight")
    for name in norms:
        writer.add_tensor_info(name, (shape.embedding,), np.dtype(np.float32), 4 * shape.embedding)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for seed, tensor in enumerate(tensors):
        writer.write_tensor_data(_random(tensor, seed))
    for _ in norms:
        writer.write_tensor_data(np.ones(shape.embedding, np.float32))
    writer.close()
    unfinished.rename(path)


def _tensors(shape: Shape, kind: str) -> Iterator[_Tensor]:
    listed = {f"{name}.weight": (rows, columns, deviation) for name, rows, columns, deviation in matrices(shape)}
    for made in Wish(kind).made({name: (rows, columns) for name, (rows, columns, _) in listed.items()}):
        assert isinstance(made.type, RowType), f"{kind} leaves {made.name} as it is"
        yield _Tensor(made.name, *listed[made.name], made.type.format)


def _random(tensor: _Tensor, seed: int) -> np.ndarray:
    """Some random rows, over and over: speed does not depend on values, and a vocabulary of rows takes minutes."""
    form, num_rows = tensor.format, min(tensor.rows, ROWS_AT_ONCE)
    raw = random_weights(form.name, num_rows, tensor.columns, seed)
    _, stored = form.split(raw)
    codes = form.codes(stored)
    scales = np.full((num_rows, 1), tensor.deviation / codes.astype(np.float32).std(), np.float32)
    rows = form.join(scales, codes)
    return np.tile(rows, (-(-tensor.rows // num_rows), 1))[: tensor.rows]
