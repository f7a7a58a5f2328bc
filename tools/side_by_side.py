"""Runs commands at the same time, each of their lines shown under its name as it comes. Knows no test.

`python -m tools.side_by_side native="make native-test" arm="make arm-test"`: fails when one of them fails, after both
have ended, and then shows the logs of those that failed again, whole and one after the other. Logs stay in --logs.
"""

import argparse
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

LOGS = Path(".venv/logs")


@dataclass(frozen=True, slots=True)
class Half:
    """One of the commands. `width`: of the longest name."""

    name: str
    command: str
    width: int

    def log(self, folder: Path) -> Path:
        return folder / f"{self.name}.log"


@dataclass(frozen=True, slots=True)
class Outcome:
    half: Half
    status: int
    duration_s: float

    @property
    def verdict(self) -> str:
        said = "passed" if self.status == 0 else f"FAILED with status {self.status}"
        return f"{self.half.name}: {said} after {self.duration_s:.0f} s"


def run(half: Half, folder: Path) -> Outcome:
    """Lines go to standard output under the half's name, and as they are to its log."""
    started_s = time.monotonic()
    with (
        half.log(folder).open("w") as log,
        subprocess.Popen(
            shlex.split(half.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as running,
    ):
        assert running.stdout
        for line in running.stdout:
            log.write(line)
            print(f"{half.name:<{half.width}} | {line.rstrip()}", flush=True)
    return Outcome(half, running.returncode, time.monotonic() - started_s)


def run_all(halves: list[Half], folder: Path) -> list[Outcome]:
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(halves)) as pool:
        return list(pool.map(lambda half: run(half, folder), halves))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.side_by_side", description=__doc__)
    parser.add_argument("commands", nargs="+", metavar="NAME=COMMAND")
    parser.add_argument("--logs", type=Path, default=LOGS, help=f"a folder; default {LOGS}")
    options = parser.parse_args(arguments)
    pairs = [text.partition("=") for text in options.commands]
    if not all(name and command for name, _, command in pairs):
        parser.error(f"NAME=COMMAND is wanted, not {options.commands}")
    width = max(len(name) for name, _, _ in pairs)
    outcomes = run_all([Half(name, command, width) for name, _, command in pairs], options.logs)
    for outcome in outcomes:
        if outcome.status != 0:
            text = outcome.half.log(options.logs).read_text()
            print(f"\n{'=' * 20} {outcome.half.name} {'=' * 20}\n{text}", flush=True)
    for outcome in outcomes:
        print(f"{outcome.verdict}; log: {outcome.half.log(options.logs)}", flush=True)
    return 0 if all(outcome.status == 0 for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
