"""What the Arm runner reads from pytest's closing line."""

import pytest

from tools.arm.cores import CORES
from tools.arm.matrix import Job, Outcome, jobs_for

JOB = Job(CORES[0], ("tests/kernels",))


@pytest.mark.parametrize(
    ("status", "output", "passed", "failed"),
    [
        (0, "....\n12 passed in 3.21s\n", 12, 0),
        (1, "F.\nFAILED x - 7 failed\n1 failed, 695 passed, 3 skipped in 356.07s (0:05:56)", 695, 1),
        (1, "=========== 2 failed, 7 passed, 1 error in 0.12s ============\n", 7, 3),
        (132, "....\nqemu: uncaught target signal 4 (Illegal instruction) - core dumped\n", 0, 1),
        (124, "..\nended after 2400 s", 0, 1),
        (5, "", 0, 1),
    ],
)
def test_counts(status: int, output: str, passed: int, failed: int) -> None:
    outcome = Outcome(JOB, status, output, 1.0)
    assert (outcome.num_passed, outcome.num_failed) == (passed, failed)


def test_what_ran_and_what_was_skipped_is_noted() -> None:
    output = "..s\nmicro-kernels: 3 of 9\nSKIPPED [1] x.py:3: root\n2 passed, 1 skipped in 1s\n"
    assert Outcome(JOB, 0, output, 1.0).notes == ["micro-kernels: 3 of 9", "SKIPPED [1] x.py:3: root"]


def test_a_job_says_what_it_is() -> None:
    assert str(JOB) == "neoverse-n1 tests/kernels"


def test_every_core_runs_its_suites_and_the_first_ones_first() -> None:
    jobs = jobs_for(list(CORES), ())
    assert {(job.core, job.arguments) for job in jobs} == {(core, suite) for core in CORES for suite in core.suites}
    ranks = [job.core.suites.index(job.arguments) for job in jobs]
    assert ranks == sorted(ranks)
    assert jobs_for(list(CORES), ("tests/x.py",)) == [Job(core, ("tests/x.py",)) for core in CORES]
