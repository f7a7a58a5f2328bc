"""Packed weights as one range: any piece is that of the whole, and the key says what it is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kernels.checksum import Checksum
from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from service.gguf.digest import source_digest
from service.gguf.reader import open_gguf
from service.model.architectures import architecture_of
from service.model.config import StepLimits, fields_of, read_config
from service.model.decoder import Decoder
from service.model.packing import Bytes, Packing
from service.model.tensors import TensorSource
from service.model.weight_memory import Keeping, WeightMemory, in_memory
from service.model.weights import WeightPlanner
from service.packed.folder import Outcome

PathOf = Callable[..., Path]


@contextmanager
def packing_of(path: Path, isa: str | None = None) -> Iterator[Packing]:
    with open_gguf(path) as file:
        limits = StepLimits(max_tokens=8, max_batch=1, max_context=64, num_threads=1)
        planner = WeightPlanner(file, detect_cpu(), isa)
        decoder = Decoder(read_config(file.metadata), fields_of(file.metadata), TensorSource(file), planner, limits)
        architecture_of(file.metadata)(decoder)
        yield Packing(file, [matrix for planned in planner.planned for matrix in planned.matrices])


def at_once(packing: Packing, path: Path) -> Bytes:
    """By the layouts' own packing, a matrix at a time."""
    whole = np.zeros(packing.num_bytes, np.uint8)
    with open_gguf(path) as file:
        for placed in packing.placed:
            rows = np.concatenate([file.data(tensor.name) for tensor in placed.matrix.tensors])
            whole[placed.offset : placed.end] = placed.matrix.choice.rhs.pack(rows).reshape(-1)
    return whole


@pytest.mark.parametrize("weight_type", ["Q4_0", "Q4_1", "Q8_0", "F16"])
def test_any_piece_is_that_of_the_whole(tiny_gguf_of: PathOf, weight_type: str) -> None:
    path = tiny_gguf_of(weight_type=weight_type, tied=False)
    with packing_of(path) as packing:
        whole = at_once(packing, path)
        assert (in_memory(packing, num_threads=3) == whole).all()
        random = np.random.default_rng(4)
        for _ in range(50):
            first, end = sorted(random.integers(0, packing.num_bytes + 1, 2))
            piece = np.full(end - first, 0xAA, np.uint8)
            packing.fill(int(first), piece)
            assert (piece == whole[first:end]).all()


def test_matrices_begin_on_cache_lines(tiny_gguf: Path) -> None:
    with packing_of(tiny_gguf) as packing:
        assert len(packing.placed) > 4
        assert all(placed.offset % 64 == 0 for placed in packing.placed)
        ends = [placed.end for placed in packing.placed]
        assert all(placed.offset >= end for placed, end in zip(packing.placed[1:], ends, strict=False))
        assert packing.num_bytes % 4096 == 0


def key_of(path: Path, isa: str | None = None) -> str:
    with open_gguf(path) as file, packing_of(path, isa) as packing:
        return packing.key(source_digest(file))


def test_the_key_is_that_of_file_and_layouts(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    raw = bytearray(tiny_gguf_of(weight_type="Q4_0").read_bytes())
    path.write_bytes(raw)
    os.utime(path, ns=(1, 1))
    key = key_of(path)
    assert key_of(path) == key
    os.utime(path, ns=(1, 2))
    assert key_of(path) != key, "another time"
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(1, 1))
    with open_gguf(path) as file:
        last = max(file.tensors.values(), key=lambda tensor: tensor.offset)
    assert last.num_bytes <= 2048, "so its samples are all of it"
    assert key_of(path, "scalar") != key, "another layout"
    assert key_of(path) != key, "another tensor, at the same time"


def test_kept_and_found_again(tiny_gguf: Path, tmp_path: Path) -> None:
    digest = Checksum(KernelLibrary(), rungs_for(detect_cpu(), None)[0])
    for copies, expected in ((False, Outcome.MISS), (False, Outcome.HIT), (True, Outcome.HIT)):
        with open_gguf(tiny_gguf) as file, packing_of(tiny_gguf) as packing:
            keeping = Keeping(tmp_path, 1 << 30, copies, from_bytes=0)
            memory = WeightMemory(file, "tiny", "cpu", keeping, digest, num_threads=2)
            assert (memory(packing) == at_once(packing, tiny_gguf)).all()
            assert memory.outcome is expected
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("keeping", [{"limit_bytes": 0, "from_bytes": 0}, {"limit_bytes": 1 << 30}])
def test_off_and_too_small(tiny_gguf: Path, tmp_path: Path, keeping: dict[str, int]) -> None:
    digest = Checksum(KernelLibrary(), rungs_for(detect_cpu(), None)[0])
    with open_gguf(tiny_gguf) as file, packing_of(tiny_gguf) as packing:
        memory = WeightMemory(file, "tiny", "cpu", Keeping(tmp_path, **keeping), digest, num_threads=1)
        assert (memory(packing) == at_once(packing, tiny_gguf)).all()
        assert memory.outcome is Outcome.OFF
    assert list(tmp_path.iterdir()) == []
