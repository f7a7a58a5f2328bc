"""A team of threads that several programs use: each step is whole, and nobody who waits is passed over."""

from __future__ import annotations

import threading
import time

import pytest

from kernels.runtime.executor import Executor
from kernels.runtime.team import Team
from kernels.runtime.turns import Turns
from tests.kernels.runtime.test_executor import a_step, counting_program, run


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_steps_of_several_programs_at_once_are_whole(num_threads: int) -> None:
    made = [counting_program(num_ops=2 + index, num_items=300 + index, size=7) for index in range(3)]
    before = threading.active_count()
    with Team(num_threads) as team:
        executors = [Executor(program, num_threads, team=team) for program, _ in made]
        assert threading.active_count() == before + num_threads - 1

        def steps(executor: Executor) -> None:
            for _ in range(50):
                run(executor, a_step())

        threads = [threading.Thread(target=steps, args=(executor,)) for executor in executors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for index, (executor, (_, counts)) in enumerate(zip(executors, made, strict=True)):
            assert (counts == 50 * (2 + index)).all()
            assert sum(kernel.calls for kernel in executor.kernel_stats()) == 50 * (2 + index)
        executors[0].close()  # a model that goes leaves the team to the others
        run(executors[1], a_step())
        with pytest.raises(AssertionError, match="closed"):
            run(executors[0], a_step())
    assert threading.active_count() == before


def test_a_team_of_another_size_is_a_mistake() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    with Team(2) as team, pytest.raises(AssertionError, match="a team of 2 for 3 threads"):
        Executor(program, 3, team=team)


def test_waiting_for_a_turn_is_counted() -> None:
    program, _ = counting_program(num_ops=1, num_items=10, size=1)
    with Team(1) as team:
        executor = Executor(program, 1, team=team)
        waiting = threading.Thread(target=run, args=(executor, a_step()))
        with team.turns:
            waiting.start()
            time.sleep(0.05)
        waiting.join()
        times = executor.times()
        assert times.turn_s >= 0.04
        assert times.call_s < times.turn_s


def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[str]()

    def take(name: str) -> None:
        for _ in range(20):
            with turns:
                order.append(name)
                time.sleep(0.002)  # the others ask meanwhile

    with turns:
        threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        time.sleep(0.05)  # all of them wait
    for thread in threads:
        thread.join()
    assert len(order) == 60
    first = order[:3]
    assert sorted(first) == ["a", "b", "c"]
    assert order == first * 20


def test_a_turn_is_given_back_by_who_fails() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns:
        raise ZeroDivisionError
    with turns:
        pass
