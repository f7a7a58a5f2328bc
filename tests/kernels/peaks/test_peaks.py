"""The roofs: every rung's loops compile, run where the CPU has them, and are not optimised away."""

import ctypes
import mmap

import numpy as np
import pytest

from kernels.cpu import detect_cpu
from kernels.jit.build import compile_apart
from kernels.jit.library import KernelLibrary
from kernels.ladder import AMX_INT8, AVX2, LADDER, NEON_DOTPROD, NEON_I8MM, SME2, SVE_I8MM, Rung, rungs_for
from kernels.peaks.emit import ACCUMULATORS, F32_FMA, INT8, compute_loop, read_loop
from kernels.peaks.measure import READ_CHUNK_BYTES, MemoryReader, measure_peaks


@pytest.mark.parametrize("rung", rungs_for(detect_cpu()), ids=lambda rung: rung.name)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_every_rung_of_this_cpu_has_its_roofs(rung: Rung, num_threads: int) -> None:
    peaks = measure_peaks(rung, num_threads, KernelLibrary(), read_bytes=8 * READ_CHUNK_BYTES, turns=200)
    assert (peaks.rung, peaks.num_threads) == (rung.name, num_threads)
    assert peaks.bytes_per_s > 0
    assert set(peaks.operations_per_s) == {INT8, F32_FMA}
    assert all(rate > 0 for rate in peaks.operations_per_s.values())


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_memory_of_any_size_is_read(num_threads: int) -> None:
    """By whole turns, of which the last chunk has fewer: what follows the array cannot be read."""
    page = mmap.PAGESIZE
    for size in (page, READ_CHUNK_BYTES + page):
        memory = mmap.mmap(-1, size + page)
        array = np.frombuffer(memory, np.uint8, size)
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(array.ctypes.data + size), ctypes.c_size_t(page), 0) == 0
        with MemoryReader(rungs_for(detect_cpu())[0], array, num_threads, KernelLibrary()) as reader:
            assert reader.bytes_per_s() > 0


@pytest.mark.parametrize(
    ("rung", "kind", "instruction", "operations"),
    [
        (AVX2, INT8, "vpmaddubsw", 64),
        (AVX2, F32_FMA, "vfmadd", 16),
        (NEON_DOTPROD, INT8, "\tsdot", 32),
        (NEON_I8MM, INT8, "\tsmmla", 64),
        (SVE_I8MM, INT8, "\tsmmla", 128),
        (SVE_I8MM, F32_FMA, "\tfm", 16),
    ],
    ids=str,
)
def test_the_loop_is_the_instruction_and_nothing_else(rung: Rung, kind: str, instruction: str, operations: int) -> None:
    loop = compute_loop(rung, kind)
    assembly = compile_apart(loop.text, rung.arch, emit="assembly").decode()
    assert loop.per_turn == operations * ACCUMULATORS
    assert assembly.count(instruction) == ACCUMULATORS


def test_outer_products_fill_the_four_tiles() -> None:
    rung = SME2[0]
    loop = compute_loop(rung, INT8)
    assembly = compile_apart(loop.text, rung.arch, emit="assembly").decode()
    assert assembly.count("smopa") == 4
    assert loop.per_turn == 4 * 16 * 16 * 8


def test_tile_products_fill_four_tiles() -> None:
    loop = compute_loop(AMX_INT8, INT8)
    assembly = compile_apart(loop.text, AMX_INT8.arch, emit="assembly").decode()
    assert assembly.count("tdpbssd") == 4
    assert loop.per_turn == 4 * 16 * 16 * 64 * 2
    assert assembly.index("ldtilecfg") < assembly.index("tdpbssd") < assembly.index("tilerelease")


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: f"{rung.name}{rung.streaming_bits or ''}")
def test_every_rung_reads(rung: Rung) -> None:
    assembly = compile_apart(read_loop(rung).text, rung.arch or "x86_64", emit="assembly").decode()
    assert f"peak_read_{rung.name}:" in assembly
