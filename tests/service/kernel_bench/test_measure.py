"""The benchmark of micro-kernels, on small shapes: rows that fit together. Speeds are not judged."""

from __future__ import annotations

import json

import pytest

from kernels.cpu import detect_cpu
from kernels.ladder import rungs_for
from kernels.registry import family_for
from kernels.select import choose_matmul
from service.errors import SettingsError
from service.kernel_bench.measure import run_bench
from service.kernel_bench.report import as_json, lines
from service.kernel_bench.shape import Shape

BEST = rungs_for(detect_cpu())[0]
CHOICE = choose_matmul(family_for("Q4_0"), detect_cpu())


def test_rows_of_a_family() -> None:
    rows = [
        row
        for row in run_bench("qsi4c32", Shape(8, 64, 256), num_threads=1, rounds=1, cold_bytes=1 << 20)
        if row.kernel in {str(CHOICE.gemm.name), str(CHOICE.gemv.name)}
    ]
    gemm, gemv = rows
    assert (gemm.m, gemv.m) == (8, 1)
    assert gemm.gigaoperations_per_s == pytest.approx(2 * 8 * 64 * 256 / gemm.microseconds / 1e3)
    assert gemm.read_loop is None
    assert gemv.read_loop is not None
    assert gemv.read_loop > 0
    assert (gemm.ceiling is not None) == (BEST.arch == "x86_64")
    assert json.loads(as_json(rows))[1]["kernel"] == gemv.kernel
    head, *body = lines(rows)
    assert len(body) == 2
    assert head.split()[-1] == "MICRO-KERNEL"


def test_nothing_to_measure() -> None:
    with pytest.raises(SettingsError, match="no micro-kernel of this CPU has 'sme9' in its name"):
        list(run_bench("sme9", Shape(8, 64, 256), 1))


def test_rows_that_a_family_cannot_have() -> None:
    with pytest.raises(SettingsError, match="k=96 is no multiple of 256, which Q4_K weights need"):
        list(run_bench("qai4k32", Shape(8, 64, 96), 1))
