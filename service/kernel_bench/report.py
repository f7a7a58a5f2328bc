"""Rows of the micro-kernel benchmark as lines and as JSON. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from service.kernel_bench.measure import KernelRow

COLUMNS = "{:<7} {:>4} {:>11} {:>8} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7}  {}"
HEAD = COLUMNS.format(
    "WEIGHTS", "M", "US", "GOP/S", "GB/S", "CEILING", "SHARE", "READ", "SHARE", "X NUMPY", "MICRO-KERNEL"
)


def as_line(row: KernelRow) -> str:
    return COLUMNS.format(
        row.weights,
        row.m,
        f"{row.microseconds:.1f}",
        f"{row.gigaoperations_per_s:.1f}",
        f"{row.gigabytes_per_s:.2f}",
        _number(row.ceiling, ".0f"),
        _number(row.share_of_ceiling, ".1%"),
        _number(row.read_loop, ".1f"),
        _number(row.share_of_read_loop, ".1%"),
        f"{row.gigaoperations_per_s / row.numpy:.2f}",
        row.kernel,
    )


def as_json(rows: Sequence[KernelRow]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=2)


def lines(rows: Iterable[KernelRow]) -> Iterable[str]:
    yield HEAD
    yield from map(as_line, rows)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
