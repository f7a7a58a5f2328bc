"""`python -m tools.cluster [CHECK ...]`: rehearsals on a cluster of two nodes, with figures; docs/deploy-ray.md."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a check misses something, each in a line on standard error."""
    # Before Ray is imported: no report home, and patience with a machine that has other work.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    from tools.cluster.checks import CHECKS, Setting
    from tools.cluster.cluster import ClusterFailed

    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description="rehearsals on two Ray nodes")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)} (default: all)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument(
        "--other-model", default="smollm2-135m-instruct", help="of the update (default: the same again)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the scaling (default: 3)")
    options = parser.parse_args(arguments)
    if unknown := set(options.checks) - set(CHECKS):
        parser.error(f"no check {', '.join(sorted(unknown))}: there are {', '.join(CHECKS)}")
    setting = Setting(options.port, options.model, options.other_model, options.rounds)
    status = 0
    for name in options.checks or CHECKS:
        try:
            verdict = asyncio.run(CHECKS[name](setting))
        except (ClusterFailed, TimeoutError) as error:
            print(f"cluster: {name}: {error}", file=sys.stderr)
            status = 1
            continue
        print(json.dumps({"check": name, **verdict.figures}), flush=True)
        for miss in verdict.misses:
            print(f"cluster: {name}: {miss}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
