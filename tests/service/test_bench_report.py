"""Rows of a benchmark in the shape that scripts written for llama-bench expect."""

import io
import json

import pytest
from rich.console import Console

from service.bench_report import BenchRow, as_json, as_table

PROMPT = BenchRow(
    model_filename="m.gguf",
    model_type="llama Q4_0",
    model_size=3 << 20,
    model_n_params=5_000_000,
    n_threads=2,
    n_prompt=100,
    n_gen=0,
    samples_ns=(1_000_000_000, 500_000_000),
)
GENERATION = BenchRow(
    model_filename="m.gguf",
    model_type="llama Q4_0",
    model_size=3 << 20,
    model_n_params=5_000_000,
    n_threads=1,
    n_prompt=0,
    n_gen=10,
    samples_ns=(100_000_000,),
)


def test_json_has_llama_benchs_keys() -> None:
    prompt, generation = json.loads(as_json([PROMPT, GENERATION]))
    assert prompt["n_prompt"] == 100
    assert prompt["n_gen"] == 0
    assert prompt["n_threads"] == 2
    assert prompt["samples_ts"] == [100.0, 200.0]
    assert prompt["avg_ts"] == 150.0
    assert prompt["stddev_ts"] == pytest.approx(70.7106781)
    assert prompt["avg_ns"] == 750_000_000
    assert generation["avg_ts"] == 100.0
    assert generation["stddev_ts"] == 0.0


def test_table_reads_like_llama_benchs() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(as_table([PROMPT, GENERATION]))
    lines = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in out.getvalue().strip().splitlines()]
    assert lines[0] == ["model", "size", "params", "threads", "test", "t/s"]
    assert lines[2] == ["llama Q4_0", "3.00 MiB", "5.00 M", "2", "pp100", "150.00 ± 70.71"]
    assert lines[3] == ["llama Q4_0", "3.00 MiB", "5.00 M", "1", "tg10", "100.00 ± 0.00"]


def test_a_row_measures_one_thing() -> None:
    with pytest.raises(AssertionError):
        BenchRow("m", "t", 1, 1, 1, n_prompt=1, n_gen=1, samples_ns=(1,))
    with pytest.raises(AssertionError):
        BenchRow("m", "t", 1, 1, 1, n_prompt=1, n_gen=0, samples_ns=())
