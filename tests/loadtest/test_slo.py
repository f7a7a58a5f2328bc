"""Objectives: how they are written, when they are met."""

import pytest

from loadtest.slo import BadObjective, Goodput, Objective


@pytest.mark.parametrize(
    ("text", "is_met"),
    [("x<=5", True), ("x<5", False), ("x >= 5", True), ("x>4.99", True), ("x<=4e0", False), ("x>=5.1", False)],
)
def test_bounds(text: str, is_met: bool) -> None:
    assert (Objective.parse(text).miss({"x": 5.0}) is None) is is_met


def test_a_figure_without_a_value_is_a_miss() -> None:
    assert Objective.parse("p99_ttft_ms<=5").miss({"p99_ttft_ms": None}) == "p99_ttft_ms is none, not <= 5"


def test_a_figure_that_does_not_exist_is_the_users_error() -> None:
    with pytest.raises(BadObjective, match="no figure p98_ttft_ms; there are"):
        Objective.parse("p98_ttft_ms<=5").miss({"p99_ttft_ms": 1.0})


@pytest.mark.parametrize("text", ["", "x", "x=5", "x<=", "x<=five", "<=5", "x<=1.2.3"])
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(BadObjective, match="an objective is like"):
        Objective.parse(text)


@pytest.mark.parametrize("word", ["ttft", "ttft:", "ttft:-1", "itl:5", "ttft:x"])
def test_what_is_no_goodput(word: str) -> None:
    with pytest.raises(BadObjective, match="goodput wants"):
        Goodput.parse([word])
