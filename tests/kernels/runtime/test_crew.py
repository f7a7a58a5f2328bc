"""Who is in a step meets after every op; who is not is not waited for; who comes late joins where the others are."""

import numpy as np
import pytest

from kernels.jit.function import c_callable
from kernels.runtime import crew as native
from kernels.runtime.crew import CREW
from kernels.runtime.executor import Executor
from kernels.runtime.program import aligned_zeros
from kernels.runtime.team import Team
from kernels.runtime.team_memory import TeamMemory
from kernels.runtime.walk import run_step
from tests.kernels.runtime.test_executor import a_step, counting_program, run

NO_TEAM = 0
OUTSIDE = -1 << 40


@c_callable("int64(int64)")
def call(crew: int) -> int:
    return np.int64(native.call_to_step(crew, NO_TEAM))  # type: ignore[return-value]


@c_callable("int64(int64)")
def join(crew: int) -> int:
    """The generation, or OUTSIDE."""
    is_in, generation = native.join(crew)
    return np.int64(generation) if is_in else np.int64(OUTSIDE)  # type: ignore[return-value]


@c_callable("int64(int64, int64)")
def arrive(crew: int, ends: int) -> int:
    return np.int64(native.arrive(crew, ends != 0))  # type: ignore[return-value]


def a_crew(generation: int = 0) -> np.ndarray:
    crew = aligned_zeros(CREW.itemsize, 64).view(CREW)
    crew["generation"] = generation
    return crew


@pytest.mark.parametrize("first", [0, 77, 2**31 - 2])
def test_a_meeting(first: int) -> None:
    """Alone, with somebody from the second op on, with two from the third; the generation may wrap around."""
    memory = a_crew(first)
    crew = memory.ctypes.data

    def generation(ops: int) -> int:
        return (first + ops + 2**31) % 2**32 - 2**31

    assert join.ctypes(crew) == OUTSIDE
    assert call.ctypes(crew) == first
    assert arrive.ctypes(crew, 0) == 1
    assert memory["generation"][0] == generation(1)

    assert join.ctypes(crew) == generation(1)
    assert arrive.ctypes(crew, 0) == 0
    assert memory["generation"][0] == generation(1)
    assert arrive.ctypes(crew, 0) == 1

    assert arrive.ctypes(crew, 0) == 0
    assert join.ctypes(crew) == generation(2)  # in the middle: waited for from here on
    assert arrive.ctypes(crew, 0) == 0
    assert arrive.ctypes(crew, 0) == 1
    assert memory["generation"][0] == generation(3)

    assert [arrive.ctypes(crew, 1) for _ in range(3)] == [0, 0, 1]
    assert memory["generation"][0] == generation(4)
    assert join.ctypes(crew) == OUTSIDE
    assert call.ctypes(crew) == generation(4)


def test_a_step_does_not_wait_for_a_worker_that_never_comes() -> None:
    program, counts = counting_program(num_ops=3, num_items=100, size=7)
    with Team(1) as team:  # nobody but the caller
        memory = TeamMemory(program, 2, team.address)
        for step in range(1, 4):
            run_step.ctypes(memory.address, a_step().ctypes.data, 0, program.num_ops)
            assert (counts == 3 * step).all()
    walked = memory.times()["steps"].sum(axis=1)
    assert walked.tolist() == [3, 0]


@pytest.mark.parametrize("num_threads", [2, 5])
def test_generations_wrap_around_under_way(num_threads: int) -> None:
    program, counts = counting_program(num_ops=5, num_items=50, size=3)
    with Team(num_threads) as team:
        team._crew["generation"] = 2**31 - 20
        with Executor(program, num_threads, team=team) as executor:
            for step in range(1, 40):
                run(executor, a_step())
                assert (counts == 5 * step).all()
        assert team._crew["generation"][0] < 0


def test_workers_do_join() -> None:
    """Of many long steps each worker is in some."""
    program, _ = counting_program(num_ops=20, num_items=20_000, size=16)
    with Executor(program, 2) as executor:
        for _ in range(300):
            run(executor, a_step())
        lead, worker = executor.times().threads
    assert worker.work > 0
    assert lead.work > 0
