"""`python -m tests.under_load [CHECK ...] [--model MODEL] [--rounds N]`: figures, verdicts; 1 if a bound is missed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from service.pull import DEFAULT_MODEL
from tests.end_to_end.server import leave_when_told
from tests.under_load import long_prompt, memory, prompt_lookup, shared_prefix, shutdown
from tests.under_load.verdict import Verdict

CHECKS: dict[str, Callable[[str, Path, int], Iterator[Verdict]]] = {
    "long-prompt": long_prompt.check,
    "shared-prefix": shared_prefix.check,
    "prompt-lookup": prompt_lookup.check,
    "shutdown": shutdown.check,
    "memory": memory.check,
}


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.under_load", description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)} (default: all)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"GGUF file or demo model (default: {DEFAULT_MODEL})")
    parser.add_argument("--rounds", type=int, default=3, help="of each check (default: 3)")
    arguments = parser.parse_args()
    for name in arguments.checks:
        if name not in CHECKS:
            parser.error(f"there is no check {name}; there are {', '.join(CHECKS)}")
    missed = 0
    leave_when_told()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.checks or CHECKS:
            print(f"{name}:", flush=True)
            for verdict in CHECKS[name](arguments.model, Path(folder) / name, arguments.rounds):
                print(f"  {verdict}", flush=True)
                missed += not verdict.holds
    print("load average at the end (1, 5, 15 min):", *(f"{load:.2f}" for load in os.getloadavg()))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
