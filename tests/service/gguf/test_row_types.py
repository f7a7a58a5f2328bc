"""Our own tensor types in a file: what the keys say is checked against what the table says."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from service.errors import ModelFileError
from service.gguf.reader import open_gguf
from service.gguf.row_types import NAMES_KEY, ROW_TYPES, TYPES_KEY, VERSION_KEY
from service.gguf.types import ValueType
from tests.service.gguf.gguf_bytes import GGUFBytes, pair, tensor, text

I8 = 24
QC8_ROW = 64 + 4


def strings(*values: str) -> bytes:
    return struct.pack("<IQ", ValueType.STRING, len(values)) + b"".join(map(text, values))


def file_of(names: tuple[str, ...], types: tuple[str, ...], version: int = 1) -> GGUFBytes:
    """One tensor "w": two rows of QC8."""
    pairs = (
        pair(VERSION_KEY, ValueType.UINT32, struct.pack("<I", version)),
        pair(NAMES_KEY, ValueType.ARRAY, strings(*names)),
        pair(TYPES_KEY, ValueType.ARRAY, strings(*types)),
    )
    return GGUFBytes(pairs, (tensor("w", (QC8_ROW, 2), I8, 0),), bytes(2 * QC8_ROW))


def test_rows_have_the_shape_of_the_weights(tmp_path: Path) -> None:
    with open_gguf(file_of(("w",), ("QC8",)).write(tmp_path / "own.gguf")) as file:
        assert file.tensors["w"].shape == (2, 64)
        assert file.tensors["w"].type == ROW_TYPES["QC8"]
        assert file.tensors["w"].num_bytes == 2 * QC8_ROW
        assert file.data("w").shape == (2, QC8_ROW)


@pytest.mark.parametrize(
    ("names", "types", "version", "message"),
    [
        (("w",), ("QC8",), 2, "gemmule.format.version is 2; this version of Gemmule reads 1"),
        (("w", "v"), ("QC8",), 1, "2 names, 2 of them different, gemmule.tensors.types 1 types"),
        (("w", "w"), ("QC8", "QC8"), 1, "2 names, 1 of them different"),
        (("w",), ("QC9",), 1, "'QC9'; known are QC8, Q4CX, 8DA4W_G32"),
        (("w", "v"), ("QC8", "QC8"), 1, "gemmule.tensors.names has 'v', which is none of the 1 tensors"),
        (("w",), ("8DA4W_G128",), 1, "'w' is said to hold gemmule.8DA4W_G128, and has GGML type 24 in rows of 68"),
        ((), (), 1, "'w' has GGML type 24; supported are F32"),
    ],
)
def test_refusals(tmp_path: Path, names: tuple[str, ...], types: tuple[str, ...], version: int, message: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        open_gguf(file_of(names, types, version).write(tmp_path / "bad.gguf"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ggml_type_where_bytes_are_promised(tmp_path: Path) -> None:
    wrong = file_of(("w",), ("QC8",)).but(tensors=(tensor("w", (64, 2), 8, 0),))
    with pytest.raises(ModelFileError, match=r"said to hold gemmule.QC8, and has GGML type 8 in rows of 64"):
        open_gguf(wrong.write(tmp_path / "bad.gguf"))


def test_keys_of_the_wrong_kind(tmp_path: Path) -> None:
    wrong = file_of(("w",), ("QC8",))
    wrong = wrong.but(pairs=(wrong.pairs[0], pair(NAMES_KEY, ValueType.UINT32, bytes(4)), wrong.pairs[2]))
    with pytest.raises(ModelFileError, match=r"'gemmule.tensors.names' is '0' .int.; it has to be an array of strings"):
        open_gguf(wrong.write(tmp_path / "bad.gguf"))
