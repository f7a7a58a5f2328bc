import pytest
from jinja2.utils import Namespace

from service.tokenizer.template_budget import Budget, TooExpensiveError, tree_size


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_units_run_out() -> None:
    budget = Budget(10, 1.0, Clock())
    budget.spend(10)
    with pytest.raises(TooExpensiveError, match="more than 10 units"):
        budget.spend(1)


def test_time_runs_out() -> None:
    clock = Clock()
    budget = Budget(10, 1.5, clock)
    clock.now_s += 1.5
    budget.spend(1)
    clock.now_s += 0.1
    with pytest.raises(TooExpensiveError, match=r"more than 1\.5 s"):
        budget.spend(1)


def test_spend_on_returns_what_it_spent() -> None:
    assert Budget(100, 1.0).spend_on("abc", [1, 2]) == 4 + 3
    with pytest.raises(TooExpensiveError):
        Budget(100, 1.0).spend_on("a" * 100)


def test_tree_size() -> None:
    assert tree_size("abc", 100) == 4
    assert tree_size(["a", {"b": ("c",)}], 100) == 1 + 2 + 1 + 2 + 1 + 2
    assert tree_size(Namespace(a="bcd"), 100) == 1 + 1 + 2 + 4
    assert tree_size(1 << 4000, 10_000) == 1001


def test_tree_size_counts_shared_parts_every_time_but_stops_at_the_limit() -> None:
    value: object = "x"
    for _ in range(200):
        value = [value, value]
    assert 1000 < tree_size(value, 1000) < 1010
    cyclic: list[object] = []
    cyclic.append(cyclic)
    assert tree_size(cyclic, 1000) == 1001
