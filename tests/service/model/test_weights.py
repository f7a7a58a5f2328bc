"""Tensors that are missing, misshapen or of a type that nothing computes: one clear line, before anything is packed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kernels.cpu import detect_cpu
from kernels.ops.embedding import EMBEDDINGS
from kernels.quant.native_rows import ROW_FORMATS
from kernels.registry import family_for
from service.errors import ModelFileError
from service.gguf.reader import open_gguf
from service.gguf.row_types import ROW_TYPES, RowType
from service.gguf.types import GGMLType
from service.model.architectures import architecture_of
from service.model.config import StepLimits, fields_of, read_config
from service.model.decoder import Decoder
from service.model.tensors import TensorSource
from service.model.weight_memory import in_memory
from service.model.weights import WeightPlanner, Weights
from tests.service.model.patched_gguf import patched, renamed, shaped, typed, value

PathOf = Callable[..., Path]
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
NAMES = [f"blk.1.{name}.weight" for name in (*MATRICES, "attn_norm", "ffn_norm")]


def load(path: Path, isa: str | None = None) -> Weights:
    with open_gguf(path) as file:
        limits = StepLimits(max_tokens=8, max_batch=1, max_context=64, num_threads=1)
        planner = WeightPlanner(file, detect_cpu(), isa)
        decoder = Decoder(read_config(file.metadata), fields_of(file.metadata), TensorSource(file), planner, limits)
        architecture_of(file.metadata)(decoder)
        return decoder.pack(in_memory)


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as refused:
        load(path)
    message = str(refused.value)
    assert message.startswith(f"{path.name}: ")
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_what_is_right_is_loaded(tiny_gguf_of: PathOf) -> None:
    weights = load(tiny_gguf_of(weight_type="Q4_1", tied=False))
    assert weights.ops() == ("attn_qkv", "attn_output", "ffn_gate_up", "ffn_down", "output")
    assert [len(matrices) for matrices in weights.of("attn_qkv")] == [1, 1]  # query, key and value stand side by side
    assert [packed.matrix.n for packed in weights.output] == [379]
    assert weights.packed_bytes >= sum(packed.matrix.source_bytes for packed in weights.matrices())


@pytest.mark.parametrize("name", [*NAMES, "token_embd.weight", "output_norm.weight"])
def test_missing(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    path = patched(tiny_gguf, tmp_path / "missing.gguf", renamed(name, "x" * len(name)))
    assert f"tensor {name} is missing" in refusal(path)


@pytest.mark.parametrize("name", [name for name in NAMES if "norm" not in name])
def test_misshapen(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    with open_gguf(tiny_gguf) as file:
        rows, columns = file.tensors[name].shape
    fewer = patched(tiny_gguf, tmp_path / "fewer.gguf", shaped(name, (rows - 1, columns)))
    assert f"tensor {name} has shape [{rows - 1}, {columns}], the metadata implies [{rows}, {columns}]" in refusal(
        fewer
    )
    turned = patched(tiny_gguf, tmp_path / "narrow.gguf", shaped(name, (rows, columns - 32)))
    assert f"tensor {name} has shape" in refusal(turned)


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "blk.1.ffn_norm.weight", "output_norm.weight"])
def test_norms_are_f32_and_as_long_as_the_embedding(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    halves = patched(tiny_gguf, tmp_path / "halves.gguf", typed(name, GGMLType.F16))
    assert f"tensor {name} is F16 [64]; it has to be F32 [64]" in refusal(halves)
    short = patched(tiny_gguf, tmp_path / "short.gguf", shaped(name, (63,)))
    assert f"tensor {name} is F32 [63]; it has to be F32 [64]" in refusal(short)


def test_own_output_of_another_vocabulary(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    path = patched(tiny_gguf_of(tied=False), tmp_path / "output.gguf", shaped("output.weight", (378, 64)))
    assert "tensor output.weight has shape [378, 64], the metadata implies [379, 64]" in refusal(path)


@pytest.mark.parametrize(
    ("key", "number", "tensor"),
    [
        ("llama.attention.head_count_kv", 4, "blk.0.attn_k.weight"),
        ("llama.attention.head_count", 2, "blk.0.attn_q.weight"),
        ("llama.attention.key_length", 32, "values of different lengths"),
        ("llama.feed_forward_length", 128, "blk.0.ffn_gate.weight"),
        ("llama.embedding_length", 96, "token_embd.weight"),
        ("llama.block_count", 3, "blk.2.attn_norm.weight is missing"),
        ("llama.block_count", 1 << 20, "blk.2.attn_norm.weight is missing"),
    ],
)
def test_metadata_that_contradict_the_tensors(
    tiny_gguf: Path, tmp_path: Path, key: str, number: int, tensor: str
) -> None:
    path = patched(tiny_gguf, tmp_path / "contradiction.gguf", value(key, number))
    with pytest.raises(ModelFileError, match=tensor):
        load(path)


def test_fewer_layers_than_the_file_has(tiny_gguf: Path, tmp_path: Path) -> None:
    """What is left over was meant to be computed."""
    path = patched(tiny_gguf, tmp_path / "layers.gguf", value("llama.block_count", 1))
    assert "tensor blk.1.attn_k.weight and 8 more has no place in a llama of 1 layers" in refusal(path)


def test_tensors_that_nothing_reads(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    """A bias or a table of frequencies that nobody reads would be a wrong answer."""
    path = patched(tiny_gguf_of(tied=False), tmp_path / "unused.gguf", renamed("output.weight", "rope_freqs.we"))
    assert "tensor rope_freqs.we has no place in a llama of 2 layers" in refusal(path)


@pytest.mark.parametrize("weight_type", ["Q5_0", "Q5_1"])
def test_five_bits_are_loaded(tiny_gguf_of: PathOf, weight_type: str) -> None:
    weights = load(tiny_gguf_of(weight_type=weight_type))
    assert {packed.matrix.choice.family.source for packed in weights.matrices()} == {weight_type}


@pytest.mark.parametrize("tensor_type", [*GGMLType, *ROW_TYPES.values()], ids=lambda tensor_type: tensor_type.name)
def test_every_type_that_is_read_has_micro_kernels_and_an_embedding(tensor_type: GGMLType | RowType) -> None:
    family = family_for(tensor_type.name)
    assert family.k_step % tensor_type.block_size == 0
    form = ROW_FORMATS[tensor_type.name]
    assert form.block == tensor_type.block_size
    assert form.row_bytes(768) == tensor_type.row_bytes(768)
    assert tensor_type.name in EMBEDDINGS


@pytest.mark.parametrize("types", [{"attn_v": "Q8_0"}, {"attn_k": "Q5_1", "ffn_up": "Q4_1"}])
def test_mixed_types_read_one_lhs(tiny_gguf_of: PathOf, types: dict[str, str]) -> None:
    weights = load(tiny_gguf_of(weight_type="Q5_0", types=types))
    for group in (*weights.of("attn_qkv"), *weights.of("ffn_gate_up")):
        assert len({packed.matrix.choice.gemm.lhs for packed in group}) == 1


@pytest.mark.parametrize("types", [{"attn_v": "F16"}, {"attn_q": "F32"}, {"ffn_up": "BF16"}])
def test_quantised_and_float_side_by_side_read_two(tiny_gguf_of: PathOf, types: dict[str, str]) -> None:
    weights = load(tiny_gguf_of(weight_type="Q4_0", types=types))
    groups = (*weights.of("attn_qkv"), *weights.of("ffn_gate_up"))
    assert max(len({packed.matrix.choice.lhs_layouts for packed in group}) for group in groups) == 2
