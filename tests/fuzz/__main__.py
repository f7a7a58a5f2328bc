"""`make fuzz-files`: 5,000 damaged files and templates; `python -m tests.fuzz [--count N] [--seed S] [SECTION ...]`."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.fuzz.run import Found, run
from tests.fuzz.sections import SECTIONS

COUNT = 5000
AT_ONCE = 250  # cases of one process


def fuzz(count: int, seed: int, names: list[str]) -> list[Found]:
    """One for each section."""
    total = sum(SECTIONS[name].share for name in names)
    parts = []
    for name in names:
        wanted = round(count * SECTIONS[name].share / total)
        parts += [(name, seed + at, seed + min(wanted, at + AT_ONCE)) for at in range(0, wanted, AT_ONCE)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(lambda part: run(*part), parts))
    return [_joined([each for each in found if each.section == name]) for name in names]


def _joined(found: list[Found]) -> Found:
    faults = tuple(fault for each in found for fault in each.faults)
    return Found(
        found[0].section, sum(each.num_cases for each in found), sum(each.num_refused for each in found), faults
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"of: {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0, help="of the first case of each section")
    options = parser.parse_args()
    unknown = [name for name in options.section if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    found = fuzz(options.count, options.seed, options.section or list(SECTIONS))
    for each in found:
        print(f"{each.section:<16} {each.num_cases:>5} cases, {each.num_refused:>5} refused, {len(each.faults)} faults")
        for fault in each.faults:
            print(f"  {fault}")
    sys.exit(1 if any(each.faults for each in found) else 0)


if __name__ == "__main__":
    main()
