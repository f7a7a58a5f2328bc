"""Runs cases of a section in a process of its own, whose memory and time are limited; collects what came of them."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.sections import LOADS, SECTIONS

LIMIT_BYTES = 512 << 20
"""Of address space, beyond what the process has once the good file has been used."""
MAX_MESSAGE = 700


@dataclass(frozen=True, slots=True)
class Found:
    """Of one section. `faults`: cases that ended otherwise than they should, each a line."""

    section: str
    num_cases: int
    num_refused: int
    faults: tuple[str, ...]


def child(section: str, first: int, end: int) -> None:
    """A line of JSON before and after each case: if the process dies, the last line says at which."""
    with tempfile.TemporaryDirectory() as folder:
        cases = SECTIONS[section](Path(folder))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for seed in range(first, end):
            print(json.dumps({"seed": seed}), flush=True)
            faulthandler.dump_traceback_later(cases.limit_s, exit=True)
            outcome = cases.outcome(seed)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"seed": seed, "outcome": outcome}), flush=True)


def run(section: str, first: int, end: int) -> Found:
    """A case that ends the process is a fault, and the others are run by another process."""
    outcomes: dict[int, str] = {}
    faults: list[str] = []
    begin = first
    while begin < end:
        command = [sys.executable, "-W", "error", "-m", "tests.fuzz.run", section, str(begin), str(end)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        outcomes |= {line["seed"]: line["outcome"] for line in lines if "outcome" in line}
        if done.returncode == 0:
            break
        last = lines[-1]["seed"] if lines else begin
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        faults.append(f"{section} {last}: the process ended with {done.returncode}: {why[:300]}")
        begin = last + 1
    for seed, outcome in outcomes.items():
        if "\n" in outcome or len(outcome) > MAX_MESSAGE:
            faults.append(f"{section} {seed}: no single line of {MAX_MESSAGE}: {outcome[:200]!r}")
    refused = sum(outcome != LOADS for outcome in outcomes.values())
    return Found(section, len(outcomes), refused, tuple(faults))


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
