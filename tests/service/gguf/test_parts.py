"""Models in several files, written by the official writer: as one, and refused where parts are missing or wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from service.errors import ModelFileError
from service.gguf.parts import model_name
from service.gguf.reader import open_gguf

NAMES = [f"blk.{layer}.weight" for layer in range(7)]


def write(folder: Path, seed: int = 0) -> list[Path]:
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=3)
    writer.add_name("split")
    random = np.random.default_rng(seed)
    for name in NAMES:
        writer.add_tensor(name, random.standard_normal((4, 8)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("model-*.gguf"))


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return write(tmp_path)


@pytest.mark.parametrize("given", [0, 1, 2])
def test_all_parts_are_one_model(parts: list[Path], given: int) -> None:
    assert len(parts) == 3
    with open_gguf(parts[given]) as file:
        assert sorted(file.tensors) == NAMES
        assert file.metadata["general.name"] == "split"
        assert file.path == parts[0]
        random = np.random.default_rng(0)
        for name in NAMES:
            expected = random.standard_normal((4, 8)).astype(np.float32)
            np.testing.assert_array_equal(file.data(name).view(np.float32), expected)
    assert model_name(parts[0]) == "model"
    assert model_name(Path("plain.Q4_0.gguf")) == "plain.Q4_0"


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as refused:
        open_gguf(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_missing_part(parts: list[Path]) -> None:
    parts[1].unlink()
    assert "model-00002-of-00003.gguf" in refusal(parts[0])
    assert "No such file" in refusal(parts[2])


def test_parts_in_each_others_place(parts: list[Path]) -> None:
    shutil.copy(parts[2], parts[1])
    assert "says that it is part 3 of 3; its name says 2 of 3" in refusal(parts[0])


def test_a_part_by_another_name(parts: list[Path]) -> None:
    renamed = parts[0].rename(parts[0].with_name("first.gguf"))
    assert "part 1 of 3; it has to be called NAME-00001-of-00003.gguf" in refusal(renamed)


def test_a_tensor_in_two_parts(parts: list[Path], tmp_path: Path) -> None:
    """The same names again, as the second of three parts."""
    raw = bytearray(parts[0].read_bytes())
    at = raw.index(b"split.no") + len(b"split.no") + 4
    raw[at] = 1
    parts[1].write_bytes(raw)
    assert "tensor 'blk.0.weight' is in another part, too" in refusal(parts[0])


def test_a_wrong_number_of_tensors(parts: list[Path]) -> None:
    raw = bytearray(parts[0].read_bytes())
    at = raw.index(b"split.tensors.count") + len(b"split.tensors.count") + 4
    raw[at] = 9
    parts[0].write_bytes(raw)
    assert "'9' tensors are claimed; its 3 parts have 7" in refusal(parts[0])
