"""Ratios, their intervals, and who goes first."""

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.compare import Comparison, compare
from loadtest.intervals import ratio_of, t_95
from loadtest.load import Load

LOADS = (Load(4, concurrency=1), Load(4, concurrency=8))


def figures(throughput: float, ttft_ms: float | None = 10.0) -> dict[str, Any]:
    keys = ("request_throughput", "p99_ttft_ms", "median_itl_ms", "p99_itl_ms", "mean_tpot_ms", "median_e2el_ms")
    head = {"max_concurrency": 4, "request_rate": None, "failed": 0, "completed": 4}
    return {**head, **dict.fromkeys(keys, 1.0), "output_throughput": throughput, "median_ttft_ms": ttft_ms}


def test_rounds_alternate_and_hold_every_load() -> None:
    seen: list[tuple[str, int | None, int]] = []

    async def measure(name: str, load: Load, number: int) -> dict[str, Any]:
        seen.append((name, load.concurrency, number))
        return figures(100.0 if name == "a" else 50.0)

    comparisons = asyncio.run(compare(("a", "b"), LOADS, 2, measure))
    assert [name for name, _, _ in seen] == ["a", "b", "a", "b", "b", "a", "b", "a"]
    assert [load for _, load, _ in seen] == [1, 1, 8, 8] * 2
    assert [comparison.ratios()["output_throughput"] for comparison in comparisons] == pytest.approx([2.0, 2.0])


def test_drift_of_the_machine_does_not_widen_the_interval() -> None:
    """Both get slower together; the ratio stays."""
    rounds = [(figures(200.0 * drift), figures(100.0 * drift)) for drift in (1.0, 0.7, 0.4)]
    ratio = Comparison(LOADS[0], ("a", "b"), rounds).ratio("output_throughput")
    assert ratio is not None
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_an_interval_by_hand() -> None:
    """Logarithms of 1, 2 and 4 over 1: mean log 2, deviation log 2, t of 2 degrees 4.3027."""
    ratio = ratio_of([1.0, 2.0, 4.0], [1.0, 1.0, 1.0])
    assert ratio is not None
    assert ratio.mean == pytest.approx(2.0)
    half = 4.3027 * math.log(2) / math.sqrt(3)
    assert (ratio.low, ratio.high) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)))


@given(st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0.01, 1e6)), min_size=2, max_size=40))
def test_a_over_b_is_the_inverse_of_b_over_a(pairs: list[tuple[float, float]]) -> None:
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    there, back = ratio_of(a, b), ratio_of(b, a)
    assert there is not None
    assert back is not None
    assert there.low is not None
    assert back.high is not None
    assert there.mean == pytest.approx(1 / back.mean, rel=1e-6)
    assert there.low <= there.mean * (1 + 1e-9)
    assert math.log(there.low) == pytest.approx(-math.log(back.high), rel=1e-6, abs=1e-6)


def test_t_falls_towards_the_normal_distribution() -> None:
    assert t_95(1) == 12.7062
    assert t_95(31) == pytest.approx(2.0395, abs=0.003)
    assert t_95(10_000) == pytest.approx(1.96, abs=0.001)


def test_what_is_missing_has_no_ratio() -> None:
    comparison = Comparison(LOADS[0], ("a", "b"), [(figures(1.0, None), figures(2.0))])
    assert comparison.ratio("median_ttft_ms") is None
    assert comparison.median(0, "median_ttft_ms") is None
    assert "median_ttft_ms" not in comparison.ratios()
    made = comparison.as_json()
    assert made["figures"]["output_throughput"] == {
        "a": 1.0, "b": 2.0, "ratio": pytest.approx(0.5), "ratio_low": None, "ratio_high": None,
    }  # fmt: skip
    assert comparison.table().row_count == 8


def test_a_percentile_that_was_not_asked_for_is_no_row() -> None:
    rounds = [tuple({k: v for k, v in figures(speed).items() if not k.startswith("p99")} for speed in (2.0, 1.0))]
    table = Comparison(LOADS[0], ("a", "b"), [(rounds[0][0], rounds[0][1])]).table()
    words = list(table.columns[0].cells)
    assert "TTFT p50, ms" in words
    assert not [each for each in words if "p99" in str(each)]
