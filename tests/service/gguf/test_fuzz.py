"""1,000 mutations of a good file: each opens or is refused with one line, in bounded time and memory."""

import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from service.errors import ModelFileError
from service.gguf.reader import open_gguf
from tests.tiny_gguf import write_tiny_gguf

NUM_MUTATIONS = 1000
MAX_SECONDS = 5.0
MAX_BYTES = 4 << 20
INTERESTING = [0, 1, 2, 3, 7, 8, 9, 10, 12, 13, 31, 32, 33, 127, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """The bytes of a tiny file and where its tensor data starts."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("fuzz") / "good.gguf", num_layers=1)
    with open_gguf(path) as file:
        return path.read_bytes(), min(tensor.offset for tensor in file.tensors.values())


def mutate(raw: bytes, data_start: int, seed: int) -> bytes:
    """One to four changes before the tensor data, or a cut; the first 24 bytes (the header) are hit often."""
    rng = random.Random(seed)
    mutated = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        kind = rng.choice(["bit", "byte", "u32", "u64", "u64", "insert", "delete", "copy", "cut"])
        at = rng.randrange(24) if rng.random() < 0.15 else rng.randrange(min(data_start, len(mutated)))
        if kind == "bit":
            mutated[at] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            mutated[at] = rng.randrange(256)
        elif kind == "u32":
            mutated[at : at + 4] = struct.pack("<I", rng.choice(INTERESTING) & 0xFFFFFFFF)
        elif kind == "u64":
            mutated[at : at + 8] = struct.pack("<Q", rng.choice([*INTERESTING, 2**64 - 1, 2**64 - 32]))
        elif kind == "insert":
            mutated[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif kind == "delete":
            del mutated[at : at + rng.randrange(1, 40)]
        elif kind == "copy":
            other = rng.randrange(data_start)
            mutated[at : at + 64] = mutated[other : other + 64]
        else:
            del mutated[rng.choice([at, rng.randrange(len(mutated))]) :]
        if len(mutated) < 24:
            break
    return bytes(mutated)


def read_everything(path: Path) -> str | None:
    """Opens the file and touches all of it; the message where it is refused."""
    try:
        with open_gguf(path) as file:
            dict(file.metadata)
            ends = [int(file.data(name)[0, 0]) + int(file.data(name)[-1, -1]) for name in file.tensors]
            assert len(ends) == len(file.tensors)
    except ModelFileError as error:
        return str(error)
    return None


def test_mutations(tmp_path: Path, good: tuple[bytes, int]) -> None:
    raw, data_start = good
    path = tmp_path / "mutated.gguf"
    num_refused = 0
    tracemalloc.start()
    try:
        for seed in range(NUM_MUTATIONS):
            path.write_bytes(mutate(raw, data_start, seed))
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], time.monotonic()
            refusal = read_everything(path)
            assert time.monotonic() - start < MAX_SECONDS, seed
            assert tracemalloc.get_traced_memory()[1] - before < MAX_BYTES, seed
            if refusal is not None:
                num_refused += 1
                assert "\n" not in refusal, seed
                assert len(refusal) < 600, seed
    finally:
        tracemalloc.stop()
    assert 200 < num_refused < 1000  # the mutations neither all miss nor all kill


def test_every_truncation_of_the_front_is_refused(tmp_path: Path, good: tuple[bytes, int]) -> None:
    raw, data_start = good
    path = tmp_path / "cut.gguf"
    for length in [*range(0, 200), *range(200, data_start, 97), data_start, len(raw) // 2]:
        path.write_bytes(raw[:length])
        with pytest.raises(ModelFileError):
            open_gguf(path)
