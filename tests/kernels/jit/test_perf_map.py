"""perf's map of loaded micro-kernels: their names, where they begin, how long they are."""

from __future__ import annotations

import os
from pathlib import Path

from kernels.jit.build import compile_here
from kernels.jit.elf import read_object
from kernels.jit.perf_map import add_to_perf_map
from kernels.registry import family_for


def test_a_line_for_each_kernel(tmp_path: Path) -> None:
    add_to_perf_map("first", 0x7F00, 0x40, tmp_path)
    add_to_perf_map("second", 0x8F00, 16, tmp_path)
    assert (tmp_path / f"perf-{os.getpid()}.map").read_text() == "7f00 40 first\n8f00 10 second\n"


def test_the_size_is_that_of_the_code() -> None:
    variant = family_for("Q4_0").variants[-1]
    size = read_object(compile_here(variant.emit(), "x86_64")).code_bytes
    assert 200 < size < 100_000
