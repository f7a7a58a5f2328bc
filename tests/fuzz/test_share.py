"""A small share of `make fuzz-files`, other seeds than its own."""

from __future__ import annotations

from tests.fuzz.__main__ import fuzz
from tests.fuzz.sections import SECTIONS


def test_a_share_of_the_cases() -> None:
    found = fuzz(150, 1_000_000, list(SECTIONS))
    assert [each.section for each in found] == list(SECTIONS)
    assert not [fault for each in found for fault in each.faults]
    for each in found:
        assert each.num_refused > each.num_cases // 10
