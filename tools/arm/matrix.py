"""Runs the Arm tests under each core, two processes at a time. Knows no test, only where they are.

`python -m tools.arm.matrix [--core NAME ...] [--whole | PYTEST ARGUMENT ...]`; without arguments each core runs its
suites. Each job is a pytest of its own; its output is shown whole when it fails, else as its closing line.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tools.arm.cores import CORES, Core
from tools.arm.debian import DebianError
from tools.arm.objects import compile_all
from tools.arm.userland import REPOSITORY, ready_userland, say

NUM_PROCESSES = 2
JOB_TIMEOUT_S = 7200
WHOLE = "tests/kernels/families/matrix.py"
# A hang shows its stack long before the job is ended. The assembly tests cross-compile, with the same result on every
# machine, and are left to the native run.
PYTEST = (
    *("-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=300"),
    "--ignore-glob=*/test_assembly.py",
)
SHOW_RUNG = (
    "from kernels.cpu import detect_cpu; from kernels.ladder import rungs_for; print(rungs_for(detect_cpu())[0].name)"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One pytest run on one core."""

    core: Core
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.core.name} {' '.join(self.arguments)}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job. `summary` is pytest's closing line."""

    job: Job
    status: int
    output: str
    duration_s: float

    @property
    def summary(self) -> str:
        lines = self.output.strip().splitlines()
        return lines[-1].strip("= ") if lines else "no output"

    @property
    def notes(self) -> list[str]:
        """Which micro-kernels ran, and what was skipped and why: a suite that ran next to nothing passes, too."""
        return [line for line in self.output.splitlines() if line.startswith(("micro-kernels: ", "SKIPPED "))]

    @property
    def num_passed(self) -> int:
        """By pytest's closing line."""
        return self._count("passed")

    @property
    def num_failed(self) -> int:
        """A job that ended badly without counting anything, by a signal say, failed once."""
        return self._count("failed") + self._count("error") or int(self.status != 0)

    def _count(self, what: str) -> int:
        found = re.search(rf"(\d+) {what}", self.summary)
        return int(found[1]) if found else 0


def run(python: Path, job: Job) -> Outcome:
    """One job, in the repository, under its core."""
    started_s = time.monotonic()
    say(f"{job}: started")
    output, status = emulate(python, job.core, [*PYTEST, *job.arguments], timeout_s=JOB_TIMEOUT_S)
    return Outcome(job, status, output, time.monotonic() - started_s)


def emulate(python: Path, core: Core, arguments: list[str], timeout_s: float) -> tuple[str, int]:
    """Output and status of the emulated Python; a run that takes too long has status 124."""
    environment = {**os.environ, "QEMU_CPU": core.name}
    try:
        done = subprocess.run(
            [str(python), *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        seen = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else ""
        return f"{seen}\nended after {timeout_s:.0f} s", 124
    return done.stdout, done.returncode


def check_rungs(python: Path, cores: list[Core]) -> bool:
    """Every core selects the rung that its table says; shown, for the speed of a server hangs on it."""
    right = True
    for core in cores:
        output, status = emulate(python, core, ["-c", SHOW_RUNG], timeout_s=JOB_TIMEOUT_S)
        selected = output.strip().splitlines()[-1] if status == 0 and output.strip() else output.strip() or "nothing"
        verdict = "as expected" if selected == core.rung else f"EXPECTED {core.rung}"
        print(f"{core.name} ({core.servers}): rung {selected}, {verdict}", flush=True)
        right &= selected == core.rung
    return right


def run_all(python: Path, jobs: list[Job]) -> list[Outcome]:
    """All jobs, each shown when it ends."""
    outcomes = []
    with ThreadPoolExecutor(NUM_PROCESSES) as pool:
        for future in as_completed([pool.submit(run, python, job) for job in jobs]):
            outcome = future.result()
            if outcome.status != 0:
                print(f"{'=' * 20} {outcome.job} {'=' * 20}\n{outcome.output}", flush=True)
            print(f"{outcome.job} [{outcome.job.core.rung}]: {outcome.summary}", flush=True)
            for note in outcome.notes:
                print(f"    {note}", flush=True)
            outcomes.append(outcome)
    return outcomes


def jobs_for(cores: list[Core], arguments: tuple[str, ...]) -> list[Job]:
    """`arguments` on every core; without any, what each core is there for, the long jobs of every core first."""
    if arguments:
        return [Job(core, arguments) for core in cores]
    ranked = [(rank, core, suite) for core in cores for rank, suite in enumerate(core.suites)]
    return [Job(core, suite) for _, core, suite in sorted(ranked, key=lambda job: job[0])]


def whole_matrix(cores: list[Core]) -> list[Job]:
    """Every shape, portion and value of the micro-kernels that no core before has: the longest jobs of all."""
    return [Job(core, (WHOLE, "-k", core.tested)) for core in cores]


def main() -> int:
    """Zero when every rung is right and every job passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.arm.matrix", description=__doc__)
    parser.add_argument("--core", action="append", choices=[core.name for core in CORES], help="default: all")
    parser.add_argument("--whole", action="store_true", help="any shape, portion and value, on the core it is for")
    parser.add_argument("arguments", nargs="*", help="for pytest; default: the suites of each core")
    options, more = parser.parse_known_args()
    arguments = tuple(more + options.arguments)
    cores = [core for core in CORES if not options.core or core.name in options.core]
    try:
        python = ready_userland().python
    except (DebianError, subprocess.CalledProcessError) as error:
        sys.exit(f"arm: {error}")
    if not check_rungs(python, cores):
        return 1
    print(f"arm: {compile_all()}", flush=True)
    outcomes = run_all(python, whole_matrix(cores) if options.whole else jobs_for(cores, arguments))
    num_passed = sum(outcome.num_passed for outcome in outcomes)
    num_failed = sum(outcome.num_failed for outcome in outcomes)
    print(f"{num_passed} passed, {num_failed} failed")
    return 0 if all(outcome.status == 0 for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
