"""`python -m tests.costs [STUDY ...]`: each with its bar; status 1 if one is missed.

On a machine that does something else at the same time the intervals are wide, and say so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from service.pull import DEFAULT_MODEL, resolve_model

BARS = {"ticks": 0.01, "traces": 0.03, "masks": 0.05}
WHAT = {
    "ticks": "counting every op",
    "traces": "a trace under way",
    "masks": "following a JSON schema",
}


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.costs", description=__doc__)
    studies = (*BARS, "sampling", "streaming", "engine", "scrapes")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(studies)} (default: all)")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--pairs", type=int, default=10_000, help="steps each way (default: 10,000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="under load (default: 30)")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--cpu", action="store_true", help="CPU time of one thread: where the machine is not ours alone"
    )
    arguments = parser.parse_args()
    wanted = arguments.studies or studies
    if unknown := set(wanted) - set(studies):
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(studies)}")
    are_met = _in_process(arguments, [study for study in wanted if study in BARS])
    if "sampling" in wanted:
        are_met += _sampling(arguments)
    are_met += _under_load(arguments, wanted)
    return 0 if all(are_met) else 1


def _in_process(arguments: argparse.Namespace, wanted: list[str]) -> list[bool]:
    if not wanted:
        return []
    from service.loader import load_model
    from service.settings import Settings
    from tests.costs.in_process import ticks, traces
    from tests.costs.masks import MaskCost, masks
    from tests.costs.pairs import Cost

    path = resolve_model(arguments.model, None)
    threads, clock = (1, time.process_time) if arguments.cpu else (arguments.threads, time.perf_counter)
    model = load_model(path, Settings(model=str(path), threads=threads, max_batch=4))
    are_met = []
    try:
        for study in wanted:
            measure: Callable[..., Cost | MaskCost] = {"ticks": ticks, "traces": traces, "masks": masks}[study]
            cost = measure(model, arguments.pairs, clock)
            print(cost.line(WHAT[study], BARS[study]), flush=True)
            are_met.append(cost.is_within(BARS[study]))
    finally:
        model.close()
    return are_met


def _sampling(arguments: argparse.Namespace) -> list[bool]:
    from service.loader import load_model
    from service.settings import Settings
    from tests.costs.sampling import NUM_SEQUENCES, sampling, wide_model

    path = wide_model()
    model = load_model(path, Settings(model=str(path), threads=arguments.threads, max_batch=NUM_SEQUENCES, ctx=512))
    are_met = []
    try:
        for cost in sampling(model):
            print(cost.line(), flush=True)
            are_met.append(cost.is_met)
    finally:
        model.close()
    return are_met


def _under_load(arguments: argparse.Namespace, wanted: list[str]) -> list[bool]:
    from tests.costs import served_load

    are_met = []
    for study in wanted:
        if study in ("streaming", "engine", "scrapes"):
            found = getattr(served_load, study)(arguments.model, arguments.seconds)
            print(found.line(), flush=True)
            are_met.append(found.is_met)
    return are_met


if __name__ == "__main__":
    sys.exit(main())
