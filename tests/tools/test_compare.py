"""The comparison's arithmetic, and who goes first."""

import argparse
from pathlib import Path

import pytest

from tools.peer import compare
from tools.peer.compare import OURS, PEER, Sample, Work, as_table, summary

WORK = Work(Path("m.gguf"), 2, "pp512")


def test_medians_and_ratios() -> None:
    pairs = [(100.0, 50.0), (90.0, 30.0), (300.0, 60.0)]
    samples = [
        Sample(WORK, program, speed) for pair in pairs for program, speed in zip((OURS, PEER), pair, strict=True)
    ]
    (row,) = summary(samples)
    assert (row[OURS], row[PEER], row["ratio"]) == (100.0, 50.0, 2.0)
    assert (row["ratio_min"], row["ratio_max"]) == (2.0, 5.0)
    assert as_table([row]).row_count == 1


def test_works_are_kept_apart() -> None:
    works = [WORK, Work(Path("m.gguf"), 1, "pp512"), Work(Path("m.gguf"), 2, "tg128"), Work(Path("n.gguf"), 2, "pp512")]
    samples = [Sample(work, program, 1.0 + n) for n, work in enumerate(works) for program in (PEER, OURS)]
    assert [row[OURS] for row in summary(samples)] == [1.0, 2.0, 3.0, 4.0]


def test_a_round_without_the_peer_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        summary([Sample(WORK, OURS, 1.0), Sample(WORK, OURS, 1.0), Sample(WORK, PEER, 1.0)])


def test_numbers() -> None:
    assert compare.numbers("1,2,16") == [1, 2, 16]


def test_who_goes_first_changes() -> None:
    order: list[str] = []

    def measure(model: Path, num_threads: int, options: argparse.Namespace, program: str) -> list[Sample]:
        order.append(program)
        return []

    options = argparse.Namespace(rounds=3, threads=[1])
    assert not list(compare.rounds([Path("m.gguf")], options, measure))
    assert order == [OURS, PEER, PEER, OURS, OURS, PEER]
