import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from service.errors import ModelFileError
from service.gguf.reader import TensorInfo, open_gguf
from service.gguf.types import GGMLType
from tests.service.gguf.gguf_bytes import GGUFBytes, pair, tensor, text

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


@pytest.mark.parametrize("weight_type", TYPES)
def test_the_official_reader_agrees(tiny_gguf_of: Callable[..., Path], weight_type: str) -> None:
    path = tiny_gguf_of(weight_type=weight_type, tied=weight_type != "Q8_0")
    official = gguf.GGUFReader(path)
    with open_gguf(path) as file:
        assert list(file.tensors) == [each.name for each in official.tensors]
        for each in official.tensors:
            info = file.tensors[each.name]
            assert info.shape == tuple(each.shape.tolist())[::-1]
            assert info.type == each.tensor_type
            assert info.offset == each.data_offset
            assert info.num_bytes == each.n_bytes
            assert np.array_equal(file.data(each.name).reshape(-1), each.data.view(np.uint8).reshape(-1))


def test_data_has_one_row_a_line_and_is_read_only(tiny_gguf: Path) -> None:
    with open_gguf(tiny_gguf) as file:
        info = file.tensors["blk.0.ffn_gate.weight"]
        assert info == TensorInfo(info.name, (96, 64), GGMLType.Q4_0, info.offset, 96 * 36)
        assert (info.num_rows, info.row_elements, info.row_bytes) == (96, 64, 36)
        rows = file.data(info.name)
        assert rows.shape == (96, 36)
        assert rows.dtype == np.uint8
        assert not rows.flags.writeable
        assert file.data("output_norm.weight").shape == (1, 256)


def resident_kib(path: Path) -> int:
    """Of this process's mappings of a file."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    begins = [index for index, line in enumerate(lines) if line.endswith(f" {path}")]
    return sum(int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1]) for at in begins)


def test_what_is_forgotten_is_not_resident_and_is_read_again(tiny_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "only-here.gguf"  # other tests' views may still map theirs
    path.write_bytes(tiny_gguf.read_bytes())
    with open_gguf(path) as file:
        rows = {tensor: file.data(tensor) for tensor in file.tensors}
        expected = {tensor: data.copy() for tensor, data in rows.items()}
        assert resident_kib(path) > 0
        file.forget()
        assert resident_kib(path) == 0
        info = file.tensors["token_embd.weight"]
        file.forget_rows(info, 0, info.num_rows)
        assert all(np.array_equal(rows[tensor], expected[tensor]) for tensor in rows)
        assert file.metadata["general.architecture"] == "llama"


def test_views_outlive_the_file(tiny_gguf: Path) -> None:
    with open_gguf(tiny_gguf) as file:
        rows = file.data("token_embd.weight")
        expected = rows.copy()
    assert np.array_equal(rows, expected)


def test_an_unknown_tensor_is_a_clear_error(tiny_gguf: Path) -> None:
    with open_gguf(tiny_gguf) as file, pytest.raises(ModelFileError, match=r"no tensor 'blk\.9' among its 20"):
        file.data("blk.9")


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_alignment_is_the_one_in_the_metadata(tiny_gguf_of: Callable[..., Path], alignment: int) -> None:
    path = tiny_gguf_of(alignment=alignment)
    with open_gguf(path) as file:
        for each in gguf.GGUFReader(path).tensors:
            assert file.tensors[each.name].offset % alignment == 0
            assert file.tensors[each.name].offset == each.data_offset


def test_version_2_reads_as_version_3(tmp_path: Path, tiny_gguf: Path) -> None:
    raw = bytearray(tiny_gguf.read_bytes())
    raw[4:8] = struct.pack("<I", 2)
    (tmp_path / "v2.gguf").write_bytes(raw)
    with open_gguf(tmp_path / "v2.gguf") as old, open_gguf(tiny_gguf) as new:
        assert old.version == 2
        assert old.tensors == new.tensors
        assert dict(old.metadata) == dict(new.metadata)


F32 = GGMLType.F32.value
Q4_0 = GGMLType.Q4_0.value
GOOD = GGUFBytes(tensors=(tensor("a", [32, 2], Q4_0, 0), tensor("b", [3], F32, 64)), data=bytes(76))


def test_the_hand_made_file_is_good(tmp_path: Path) -> None:
    file = open_gguf(GOOD.write(tmp_path / "good.gguf"))
    assert file.tensors["a"].shape == (2, 32)
    assert file.tensors["b"].shape == (3,)


def test_a_file_without_tensors_opens(tmp_path: Path) -> None:
    assert dict(open_gguf(GGUFBytes().write(tmp_path / "none.gguf")).tensors) == {}


def alignment(value_type: int, payload: bytes) -> tuple[bytes, ...]:
    return (pair("general.alignment", value_type, payload),)


def one(entry: bytes) -> GGUFBytes:
    return GOOD.but(tensors=(entry,))


BAD: dict[str, tuple[GGUFBytes, str]] = {
    "magic": (GOOD.but(magic=b"GGML"), "begins with b'GGML', not with b'GGUF'"),
    "version_0": (GOOD.but(version=0), "GGUF version 0; versions 2 and 3 are supported"),
    "version_1": (GOOD.but(version=1), "GGUF version 1; versions 2 and 3"),
    "version_4": (GOOD.but(version=4), "GGUF version 4; versions 2 and 3"),
    "big_endian": (GOOD.but(version=0x03000000), "big-endian"),
    "tensors_huge": (GOOD.but(num_tensors=2**63), "claims 9223372036854775808 tensors; at most 65536"),
    "tensors_more_than_bytes": (GOOD.but(num_tensors=60_000), "60000 tensors and 0 metadata keys needs 1980000 bytes"),
    "one_tensor_more": (GOOD.but(num_tensors=3), "the name of tensor 2 has a length of 0 bytes"),
    "pairs_huge": (GOOD.but(num_pairs=2**64 - 1), "claims 18446744073709551615 metadata keys; at most 65536"),
    "pairs_more_than_bytes": (GOOD.but(num_pairs=60_000), "needs"),
    "alignment_0": (GOOD.but(pairs=alignment(4, struct.pack("<I", 0))), "alignment is '0'"),
    "alignment_odd": (GOOD.but(pairs=alignment(4, struct.pack("<I", 33))), "'33'; it has to be a power of two"),
    "alignment_huge": (GOOD.but(pairs=alignment(10, struct.pack("<Q", 1 << 63))), "power of two up to 65536"),
    "alignment_text": (GOOD.but(pairs=alignment(8, text("32"))), "power of two"),
    "alignment_negative": (GOOD.but(pairs=alignment(5, struct.pack("<i", -32))), "power of two"),
    "alignment_true": (GOOD.but(pairs=alignment(7, b"\1")), "alignment is 'True'"),
    "alignment_violated": (
        GOOD.but(pairs=alignment(4, struct.pack("<I", 128)), alignment=128),
        "'b' lies at data offset 64, which is not a multiple of the alignment 128",
    ),
    "name_twice": (GOOD.but(tensors=(tensor("a", [1], F32, 0), tensor("a", [1], F32, 32))), "'a' comes twice"),
    "name_empty": (one(tensor("", [1], F32, 0)), "length of 0 bytes; 1 to 64"),
    "name_long": (one(tensor("a" * 65, [1], F32, 0)), "length of 65 bytes; 1 to 64"),
    "name_not_utf8": (one(tensor(b"\xfe", [1], F32, 0)), "not UTF-8"),
    "no_dimensions": (one(tensor("a", [], F32, 0)), "has 0 dimensions; 1 to 4"),
    "five_dimensions": (one(tensor("a", [1] * 5, F32, 0)), "has 5 dimensions; 1 to 4"),
    "dimension_0": (one(tensor("a", [32, 0], F32, 0)), r"shape \[0, 32\]; every dimension is at least 1"),
    "product_overflows": (one(tensor("a", [2**32, 2**32], F32, 0)), "product below 2\\^63"),
    "product_wraps_to_0": (one(tensor("a", [2**62, 4, 1, 1], F32, 0)), "product below 2\\^63"),
    "bytes_overflow": (one(tensor("a", [2**62], F32, 0)), "ends at offset"),
    "unknown_type": (one(tensor("a", [32], 99, 0)), "GGML type 99; supported are F32 \\(0\\)"),
    "type_without_reader": (one(tensor("a", [256], 16, 0)), "GGML type 16; supported are"),
    "row_not_in_blocks": (one(tensor("a", [33], Q4_0, 0)), "rows of 33 elements; Q4_0 needs a multiple of 32"),
    "offset_unaligned": (one(tensor("a", [1], F32, 4)), "data offset 4, which is not a multiple of the alignment 32"),
    "offset_huge": (one(tensor("a", [1], F32, 2**64 - 32)), "ends at offset 18446744073709551"),
    "past_the_end": (one(tensor("a", [20], F32, 0)), r"'a' \(F32, 80 bytes\) ends at offset 144, the file has 140"),
    "overlap": (
        GOOD.but(tensors=(tensor("a", [32, 4], Q4_0, 0), tensor("b", [3], F32, 64))),
        "'a' ends at offset 200, after tensor 'b' has begun at 192",
    ),
    "split": (
        GOOD.but(pairs=(pair("split.count", 2, b"\3\0"),)),
        "bad.gguf: part 1 of 3; it has to be called NAME-00001-of-00003.gguf",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str) -> None:
    file, message = BAD[name]
    path = file.write(tmp_path / "bad.gguf")
    with pytest.raises(ModelFileError, match=message) as caught:
        open_gguf(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        open_gguf(tmp_path / "absent.gguf")
    with pytest.raises(ModelFileError, match="Is a directory"):
        open_gguf(tmp_path)
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ModelFileError, match=r"empty.gguf: the file is empty"):
        open_gguf(tmp_path / "empty.gguf")


def test_a_large_vocabulary_is_scanned_in_a_tight_loop(tmp_path: Path) -> None:
    """Two arrays of 50,000 strings cost one call a string, and no Python function."""
    strings = b"".join(text(f"token{index}") for index in range(50_000))
    array = struct.pack("<IQ", 8, 50_000) + strings
    path = GGUFBytes((pair("tokens", 9, array), pair("merges", 9, array))).write(tmp_path / "large.gguf")
    calls: Counter[str] = Counter()
    sys.setprofile(lambda frame, event, argument: calls.update((event,)))
    try:
        file = open_gguf(path)
    finally:
        sys.setprofile(None)
    assert calls["c_call"] < 110_000, calls
    assert calls["call"] < 1_000, calls
    assert file.metadata["merges"][49_999] == "token49999"
