import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from service.errors import ModelFileError
from service.gguf.reader import open_gguf
from tests.service.gguf.gguf_bytes import GGUFBytes, pair, text

SCALARS: dict[str, tuple[int, bytes, Any]] = {
    "uint8": (0, b"\xff", 255),
    "int8": (1, b"\x80", -128),
    "uint16": (2, b"\xff\xff", 65_535),
    "int16": (3, b"\x00\x80", -32_768),
    "uint32": (4, b"\xff" * 4, 2**32 - 1),
    "int32": (5, b"\x00\x00\x00\x80", -(2**31)),
    "float32": (6, struct.pack("<f", 0.1), float(np.float32(0.1))),
    "true": (7, b"\x01", True),
    "false": (7, b"\x00", False),
    "string": (8, text("Größe 🧽"), "Größe 🧽"),
    "empty_string": (8, text(""), ""),
    "uint64": (10, b"\xff" * 8, 2**64 - 1),
    "int64": (11, bytes(7) + b"\x80", -(2**63)),
    "float64": (12, struct.pack("<d", 0.1), 0.1),
}


def array(element_type: int, elements: list[bytes]) -> bytes:
    return struct.pack("<IQ", element_type, len(elements)) + b"".join(elements)


def test_every_scalar_type(tmp_path: Path) -> None:
    pairs = tuple(pair(key, number, payload) for key, (number, payload, _) in SCALARS.items())
    metadata = open_gguf(GGUFBytes(pairs).write(tmp_path / "a.gguf")).metadata
    assert dict(metadata) == {key: value for key, (_, _, value) in SCALARS.items()}
    assert {key: type(metadata[key]) for key in metadata} == {key: type(SCALARS[key][2]) for key in SCALARS}


def test_an_array_of_every_type(tmp_path: Path) -> None:
    pairs = tuple(pair(key, 9, array(number, [payload] * 3)) for key, (number, payload, _) in SCALARS.items())
    metadata = open_gguf(GGUFBytes((*pairs, pair("none", 9, array(5, [])))).write(tmp_path / "a.gguf")).metadata
    assert dict(metadata) == {key: [value] * 3 for key, (_, _, value) in SCALARS.items()} | {"none": []}


@pytest.mark.parametrize(
    "strings", [[], [""], ["", "", "a", ""], ["a\0b", "\0" * 9, "c"], ["\0"], ["\0" * 8, ""], ["é" * 300, "🧽", "\x01"]]
)
def test_arrays_of_strings(tmp_path: Path, strings: list[str]) -> None:
    """Empty ones, and such as hold zeros, at which arrays without any are cut."""
    file = GGUFBytes((pair("strings", 9, array(8, [text(each) for each in strings])),))
    assert open_gguf(file.write(tmp_path / "a.gguf")).metadata["strings"] == strings


def test_the_official_reader_agrees(tiny_gguf: Path) -> None:
    official = {
        key: field.contents() for key, field in gguf.GGUFReader(tiny_gguf).fields.items() if not key.startswith("GGUF.")
    }
    assert dict(open_gguf(tiny_gguf).metadata) == official


def test_a_value_is_his_who_asked(tiny_gguf: Path) -> None:
    metadata = open_gguf(tiny_gguf).metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tokens.clear()
    assert metadata["tokenizer.ggml.tokens"] != []


def test_an_absent_key(tiny_gguf: Path) -> None:
    metadata = open_gguf(tiny_gguf).metadata
    assert "nothing" not in metadata
    assert metadata.get("nothing", 7) == 7
    with pytest.raises(KeyError):
        metadata["nothing"]


BAD_AT_OPEN: dict[str, tuple[bytes, str]] = {
    "unknown_type": (pair("a", 13, b""), "type 13"),
    "huge_type": (pair("a", 2**32 - 1, b""), "type 4294967295"),
    "nested_array": (pair("a", 9, struct.pack("<IQ", 9, 1)), "array of arrays"),
    "unknown_element_type": (pair("a", 9, struct.pack("<IQ", 99, 1)), "type 99"),
    "array_longer_than_the_file": (pair("a", 9, struct.pack("<IQ", 5, 1000)), "needs 4000 bytes"),
    "array_longer_than_the_limit": (pair("a", 9, struct.pack("<IQ", 5, 2**62)), "claims 4611686018427387904 elements"),
    "strings_longer_than_the_file": (pair("a", 9, struct.pack("<IQ", 8, 1000)), "needs 8000 bytes"),
    "string_longer_than_the_file": (pair("a", 8, struct.pack("<Q", 2**63)), "past the file's end"),
    "second_string_cut": (pair("a", 9, array(8, [text("abc"), struct.pack("<Q", 2**64 - 1)])), "past the file's end"),
    "key_empty": (pair("", 0, b"\0"), "length of 0 bytes"),
    "key_too_long": (struct.pack("<Q", 65_536), "1 to 65535"),
    "key_not_utf8": (pair(b"a\xff", 0, b"\0"), "not UTF-8"),
    "scalar_cut": (pair("abcdefgh", 12, b"\0"), "needs 8 bytes"),
}


@pytest.mark.parametrize("name", BAD_AT_OPEN)
def test_bad_pairs_are_refused(tmp_path: Path, name: str) -> None:
    raw, message = BAD_AT_OPEN[name]
    path = GGUFBytes((raw,), alignment=1, data=bytes(6)).write(tmp_path / "bad.gguf")
    with pytest.raises(ModelFileError, match=message) as caught:
        open_gguf(path)
    assert str(caught.value).startswith("bad.gguf: ")
    assert "\n" not in str(caught.value)


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    path = GGUFBytes((pair("a\nb", 0, b"\0"), pair("a\nb", 0, b"\0"))).write(tmp_path / "bad.gguf")
    with pytest.raises(ModelFileError, match=r"'a\\nb' comes twice"):
        open_gguf(path)


BAD_AT_ACCESS: dict[str, tuple[int, bytes, str]] = {
    "string": (8, text(b"ab\xff"), "string 0 is not UTF-8: byte 2 of b'ab\\\\xff'"),
    "strings": (9, array(8, [text("a"), text(b"\xc3")]), "string 1 is not UTF-8"),
    "boolean": (7, b"\x02", "the byte 2 as a boolean"),
    "booleans": (9, array(7, [b"\0", b"\xff"]), "the byte 255 as a boolean"),
}


@pytest.mark.parametrize("name", BAD_AT_ACCESS)
def test_bytes_that_no_value_has_are_refused_on_access(tmp_path: Path, name: str) -> None:
    number, payload, message = BAD_AT_ACCESS[name]
    file = open_gguf(GGUFBytes((pair("a", number, payload), pair("b", 0, b"\x07"))).write(tmp_path / "bad.gguf"))
    assert file.metadata["b"] == 7
    with pytest.raises(ModelFileError, match=message):
        file.metadata["a"]


def test_surrogates_are_not_utf8(tmp_path: Path) -> None:
    file = open_gguf(GGUFBytes((pair("a", 8, text(b"\xed\xa0\x80")),)).write(tmp_path / "bad.gguf"))
    with pytest.raises(ModelFileError, match="not UTF-8"):
        file.metadata["a"]
