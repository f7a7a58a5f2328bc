"""Files in another type: tensors as the official quantiser makes them, all else as it was, never half a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from service.errors import ModelFileError, SettingsError
from service.gguf.reader import open_gguf
from service.loader import load_model
from service.quantise.recipe import FILE_TYPES, Wish
from service.quantise.write import quantise
from service.settings import Settings
from tests.oracle import dequantised
from tests.service.model.driver import every_position
from tests.service.model.rounding_oracle import RoundingOracle
from tools.parity.measure import Likeness

PathOf = Callable[..., Path]


def quiet(name: str, done: int, tensors: int) -> None:
    assert 1 <= done <= tensors


@pytest.mark.parametrize("kind", FILE_TYPES)
@pytest.mark.parametrize("source_type", ["F32", "F16", "Q8_0"])
def test_every_type(tiny_gguf_of: PathOf, tmp_path: Path, source_type: str, kind: str) -> None:
    source, target = tiny_gguf_of(weight_type=source_type), tmp_path / "out.gguf"
    assert quantise(source, target, Wish(kind.lower()), quiet) == target.stat().st_size
    with open_gguf(source) as before, open_gguf(target) as after:
        assert list(after.tensors) == list(before.tensors)
        for name, tensor in before.tensors.items():
            made = after.tensors[name]
            assert made.shape == tensor.shape
            assert made.type.name == (kind if len(tensor.shape) > 1 else "F32")
            expected = gguf.quants.quantize(dequantised(before, name), gguf.GGMLQuantizationType[made.type.name])
            np.testing.assert_array_equal(after.data(name).reshape(-1), expected.view(np.uint8).reshape(-1))
        kept = set(before.metadata) - {"general.file_type", "general.quantization_version"}
        assert kept <= set(after.metadata)
        assert all(after.metadata[key] == before.metadata[key] for key in kept)
        assert all(after.metadata.field(key).type == before.metadata.field(key).type for key in kept)
        assert after.metadata["general.file_type"] == FILE_TYPES[kind]


def test_it_is_a_model(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    quantise(tiny_gguf_of(weight_type="F16"), target, Wish("q4_0", "q8_0"), quiet)
    with open_gguf(target) as file:
        assert file.tensors["token_embd.weight"].type.name == "Q8_0"
        assert file.tensors["blk.0.attn_q.weight"].type.name == "Q4_0"
    load_model(target, Settings(threads=1)).close()


def test_rows_that_blocks_do_not_divide_stay(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    source, target = tiny_gguf_of(weight_type="F16", embedding=48, heads=3, kv_heads=3, ffn=80), tmp_path / "out.gguf"
    quantise(source, target, Wish("q4_0"), quiet)
    with open_gguf(target) as file:
        assert {tensor.type.name for tensor in file.tensors.values()} == {"F16", "F32"}


def test_refusals(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot quantise to 'q3_k'; possible are f32, f16, q4_0"):
        quantise(tiny_gguf, tmp_path / "out.gguf", Wish("q3_k"), quiet)
    with pytest.raises(SettingsError, match="is the model itself"):
        quantise(tiny_gguf, tiny_gguf, Wish("q8_0"), quiet)
    with pytest.raises(ModelFileError, match="cannot open"):
        quantise(tmp_path / "none.gguf", tmp_path / "out.gguf", Wish("q8_0"), quiet)
    with pytest.raises(FileNotFoundError):
        quantise(tiny_gguf, tmp_path / "no folder" / "out.gguf", Wish("q8_0"), quiet)
    assert list(tmp_path.iterdir()) == []


OWN = {"embedding": 128, "ffn": 256, "heads": 4, "head_dim": 32, "weight_type": "F32"}
ATTENTION, FEED_FORWARD = "blk.0.attn_q.weight", "blk.0.ffn_down.weight"


@pytest.mark.parametrize(
    ("kind", "attention", "feed_forward"),
    [
        ("qc8", "QC8", "QC8"),
        ("q4cx", "Q4CX", "Q4CX"),
        ("mixed48", "QC8", "Q4CX"),
        ("8da4w-g32", "8DA4W_G32", "8DA4W_G32"),
        ("8DA4W-G64", "8DA4W_G64", "8DA4W_G64"),
        ("8da4w-g128", "8DA4W_G128", "8DA4W_G128"),
    ],
)
def test_our_own_types(tiny_gguf_of: PathOf, tmp_path: Path, kind: str, attention: str, feed_forward: str) -> None:
    """Written, read back with the shape of the weights, and multiplied as the rounding oracle multiplies."""
    source, target = tiny_gguf_of(**OWN), tmp_path / "out.gguf"
    quantise(source, target, Wish(kind), quiet)
    with open_gguf(source) as before, open_gguf(target) as after:
        assert after.tensors[ATTENTION].type.name == f"gemmule.{attention}"
        assert after.tensors[FEED_FORWARD].type.name == f"gemmule.{feed_forward}"
        assert {name: each.shape for name, each in after.tensors.items()} == {
            name: each.shape for name, each in before.tensors.items()
        }
        assert "general.file_type" not in after.metadata
        for name in (ATTENTION, FEED_FORWARD):
            weights = dequantised(before, name)
            error = dequantised(after, name) - weights
            of_bytes = after.tensors[name].type.name == "gemmule.QC8"
            assert np.sqrt((error**2).mean() / (weights**2).mean()) < (0.01 if of_bytes else 0.14)
    tensors = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(target).tensors}
    assert tensors[ATTENTION] == tensors[FEED_FORWARD] == gguf.GGMLQuantizationType.I8
    ids = [5, 80, 200, 31, 7, 7, 100, 354, 9, 250]
    model = load_model(target, Settings(threads=1, kv_type="f16"))  # which the oracle rounds to
    try:
        expected, found = RoundingOracle(target).logits(ids), every_position(model, ids)
    finally:
        model.close()
    assert Likeness.of(found, expected).flat > 0.9999


@pytest.mark.parametrize("own", ["qc8", "8da4w-g64"])
def test_our_own_types_are_a_source(tiny_gguf_of: PathOf, tmp_path: Path, own: str) -> None:
    first, second = tmp_path / "own.gguf", tmp_path / "f32.gguf"
    quantise(tiny_gguf_of(**OWN), first, Wish(own), quiet)
    quantise(first, second, Wish("f32"), quiet)
    with open_gguf(first) as before, open_gguf(second) as after:
        assert not [key for key in after.metadata if key.startswith("gemmule.")]
        np.testing.assert_array_equal(dequantised(before, ATTENTION), dequantised(after, ATTENTION))


def test_an_embedding_of_its_own_gives_a_tied_model_an_output(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    quantise(tiny_gguf_of(**OWN), target, Wish("8da4w-g128", embedding="8da4w-g32"), quiet)
    with open_gguf(target) as file:
        assert file.tensors["token_embd.weight"].type.name == "gemmule.8DA4W_G32"
        assert file.tensors["output.weight"].type.name == "gemmule.8DA4W_G128"
    load_model(target, Settings(threads=1)).close()


def test_a_smaller_group_where_the_wished_one_does_not_divide(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    quantise(tiny_gguf_of(weight_type="F16", embedding=64, ffn=96), target, Wish("8da4w-g128"), quiet)
    with open_gguf(target) as file:
        assert file.tensors[ATTENTION].type.name == "gemmule.8DA4W_G64"
        assert file.tensors[FEED_FORWARD].type.name == "gemmule.8DA4W_G32"


@pytest.mark.parametrize(
    ("wish", "embedding", "has_output"),
    [
        (Wish("8da4w-g64"), "QC8", False),
        (Wish("8da4w-g64", outer="8da4w-g32"), "8DA4W_G32", False),
        (Wish("8da4w-g64", embedding="8da4w-g32"), "8DA4W_G32", True),
        (Wish("q4cx"), "Q4CX", False),
    ],
)
def test_the_embedding_of_a_tied_model(
    tiny_gguf_of: PathOf, tmp_path: Path, wish: Wish, embedding: str, has_output: bool
) -> None:
    target = tmp_path / "out.gguf"
    quantise(tiny_gguf_of(**OWN), target, wish, quiet)
    with open_gguf(target) as file:
        assert file.tensors["token_embd.weight"].type.name == f"gemmule.{embedding}"
        assert ("output.weight" in file.tensors) is has_output


def test_half_a_file_is_never_left(tiny_gguf: Path, tmp_path: Path) -> None:
    def stop(name: str, done: int, tensors: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantise(tiny_gguf, tmp_path / "out.gguf", Wish("q8_0"), stop)
    assert list(tmp_path.iterdir()) == []
