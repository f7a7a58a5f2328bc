"""Safetensors headers: right ones are mapped, every wrong one is refused by a line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelFileError
from service.huggingface.safetensors import MAX_HEADER_BYTES, open_file
from tests.huggingface_folder import write_raw, write_safetensors

A = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
B = {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}


def test_tensors_are_mapped(tmp_path: Path) -> None:
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}
    found = open_file(write_safetensors(tmp_path / "x.safetensors", values))
    assert found["a"].shape == (2, 3)
    np.testing.assert_array_equal(found["a"].rows().view(np.float32), values["a"])
    np.testing.assert_array_equal(found["b"].rows().view(np.float32)[0], values["b"])


def test_metadata_and_order_do_not_matter(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "b": B, "a": A}).encode() + b"   "
    assert set(open_file(write_raw(tmp_path / "x.safetensors", header, [bytes(32)]))) == {"a", "b"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": A | {"shape": [2, 4]}, "b": B}, "has 24 bytes; F32 [2, 4] takes 32"),
        ({"a": A}, "the tensors end at 24; the data have 32 bytes"),
        ({"a": A, "b": B | {"data_offsets": [20, 28]}}, "'b' begins at 20, the one before it ends at 24"),
        ({"a": A, "b": B | {"data_offsets": [24, 40]}}, "lies at '[24, 40]'; the data have 32 bytes"),
        ({"a": A | {"dtype": "I64"}, "b": B}, "'a' is of type 'I64'; supported are F32, F16, BF16"),
        ({"a": A | {"shape": [-2, -3]}, "b": B}, "has the shape '[-2, -3]'"),
        ({"a": A | {"shape": []}, "b": B}, "has the shape '[]'"),
        ({"a": A | {"shape": [True, 6]}, "b": B}, "has the shape '[True, 6]'"),
        ({"a": A | {"more": 1}, "b": B}, "dtype, shape and data_offsets belong there"),
        ({"a": 7, "b": B}, "tensor 'a' is '7'"),
        ({"a": A | {"data_offsets": [0, 10**60]}, "b": B}, "the data have 32 bytes"),
    ],
)
def test_refusals(tmp_path: Path, header: dict[str, object], message: str) -> None:
    path = write_raw(tmp_path / "x.safetensors", json.dumps(header).encode(), [bytes(32)])
    with pytest.raises(ModelFileError) as caught:
        open_file(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file is empty"),
        (b"\x05\0\0\0", "no safetensors file: a header of 0 bytes in a file of 4"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "no safetensors file: a header of"),
        ((2).to_bytes(8, "little") + b"[]", "the JSON is list; it has to be an object"),
        ((4).to_bytes(8, "little") + b'{"a"', "no JSON"),
        ((14).to_bytes(8, "little") + b'{"a":1,"a":22}', "the key 'a' comes twice"),
        ((9).to_bytes(8, "little") + b'{"a":NaN}', "NaN is no JSON number"),
        ((10**5).to_bytes(8, "little") + b'{"a":' + b"[" * 10**5, "nested too deeply"),
        ((5010).to_bytes(8, "little") + b'{"a":' + b"9" * 5004 + b"}", "no JSON"),
    ],
)
def test_what_is_no_header(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError) as caught:
        open_file(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
