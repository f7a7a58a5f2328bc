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
from service.quantise import FILE_TYPES, Wish, quantise
from service.settings import Settings
from tests.oracle import dequantised

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


def test_half_a_file_is_never_left(tiny_gguf: Path, tmp_path: Path) -> None:
    def stop(name: str, done: int, tensors: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantise(tiny_gguf, tmp_path / "out.gguf", Wish("q8_0"), stop)
    assert list(tmp_path.iterdir()) == []
