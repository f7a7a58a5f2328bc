"""Files of packed weights: what was written comes back, and nothing that was changed is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.checksum import Checksum
from service.packed.file import Bytes, fill_in_memory, map_checked, read_header, write
from service.packed.header import PAYLOAD_OFFSET, SEGMENT_BYTES, DamagedFile, encode
from tests.service.packed.payload import NUM_BYTES, NUM_SEGMENTS, PAYLOAD, digest, fill, header


@pytest.fixture(scope="module")
def checksum() -> Checksum:
    return digest()


@pytest.fixture
def good(tmp_path: Path, checksum: Checksum) -> Path:
    path = tmp_path / "good.packed"
    with path.open("w+b") as file:
        write(file.fileno(), header(), fill, checksum, num_threads=2)
    return path


def flipped(path: Path, bit: int) -> Path:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0] ^ 1 << bit % 8
        file.seek(bit // 8)
        file.write(bytes([byte]))
    return path


def test_what_was_written_comes_back(good: Path, checksum: Checksum) -> None:
    found, payload = map_checked(good, checksum, num_threads=2)
    assert (payload == PAYLOAD).all()
    assert not payload.flags.writeable
    assert found == read_header(good)
    assert (found.key, found.model, found.layouts) == ("aa", "a model", ("qsi4c32p16x4",))


def test_in_memory_it_is_the_same() -> None:
    into = np.zeros(NUM_BYTES, np.uint8)
    fill_in_memory(into, fill, num_threads=3)
    assert (into == PAYLOAD).all()


def test_who_fills_and_fails_is_heard(tmp_path: Path, checksum: Checksum) -> None:
    def broken(first: int, into: Bytes) -> None:
        raise ZeroDivisionError

    with (tmp_path / "x").open("w+b") as file, pytest.raises(ZeroDivisionError):
        write(file.fileno(), header(), broken, checksum, num_threads=2)


def test_every_cut_is_found(good: Path, checksum: Checksum) -> None:
    whole = good.read_bytes()
    sizes = (0, 1, 47, 48, 100, 4096, PAYLOAD_OFFSET - 1, PAYLOAD_OFFSET, len(whole) - 4096, len(whole) - 1)
    for size in sizes:
        good.write_bytes(whole[:size])
        with pytest.raises(DamagedFile):
            map_checked(good, checksum, num_threads=1)
    good.write_bytes(whole + b"\0")
    with pytest.raises(DamagedFile, match="bytes"):
        map_checked(good, checksum, num_threads=1)


def test_every_bit_of_the_header_counts(good: Path, checksum: Checksum) -> None:
    size = len(encode(read_header(good)))
    random = np.random.default_rng(1)
    anywhere = random.integers(0, 8 * PAYLOAD_OFFSET, 100)
    for bit in [*range(8 * 48), *random.integers(8 * 48, 8 * size, 200), *anywhere]:
        flipped(good, int(bit))
        with pytest.raises(DamagedFile):
            map_checked(good, checksum, num_threads=1)
        flipped(good, int(bit))
    map_checked(good, checksum, num_threads=1)


def test_any_bit_of_the_weights_counts(good: Path, checksum: Checksum) -> None:
    for bit in np.random.default_rng(2).integers(0, 8 * NUM_BYTES, 200):
        flipped(good, 8 * PAYLOAD_OFFSET + int(bit))
        with pytest.raises(DamagedFile, match="bytes"):
            map_checked(good, checksum, num_threads=2)
        flipped(good, 8 * PAYLOAD_OFFSET + int(bit))
    map_checked(good, checksum, num_threads=2)


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_the_first_damaged_segment_is_named(
    good: Path, checksum: Checksum, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever batch a thread finds it in, and whatever comes after it."""
    monkeypatch.setattr("service.packed.file.CHECK_BATCH", batch)
    map_checked(good, checksum, num_threads=2)
    for segment in reversed(range(NUM_SEGMENTS)):
        first = PAYLOAD_OFFSET + segment * SEGMENT_BYTES
        flipped(good, 8 * first)
        with pytest.raises(DamagedFile, match=f"bytes {first} to"):
            map_checked(good, checksum, num_threads=2)


def test_segments_that_changed_places_are_found(good: Path, checksum: Checksum) -> None:
    raw = bytearray(good.read_bytes())
    first, second = (
        slice(PAYLOAD_OFFSET + i * SEGMENT_BYTES, PAYLOAD_OFFSET + (i + 1) * SEGMENT_BYTES) for i in (0, 1)
    )
    raw[first], raw[second] = raw[second], raw[first]
    good.write_bytes(raw)
    with pytest.raises(DamagedFile, match=f"bytes {PAYLOAD_OFFSET} to"):
        map_checked(good, checksum, num_threads=2)
