"""`python -m tests.soak [--seconds S] [--model MODEL] [--seed N]`."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.server import leave_when_told, served
from tests.soak.soak import Soak
from tests.tiny_gguf import write_tiny_gguf

# Few blocks and places: sequences are preempted, cached blocks forgotten, requests refused.
FLAGS = ("--max-batch", "12", "--max-queue", "16", "--threads", "2", "--draft-tokens", "4", "--max-step-tokens", "128")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of load (default: 600)")
    parser.add_argument("--model", help="default: a tiny one, made at random")
    parser.add_argument("--kv-memory", help="default: some sixty blocks of the tiny model")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    leave_when_told()
    with tempfile.TemporaryDirectory() as folder:
        model, memory = arguments.model, arguments.kv_memory
        if model is None:
            model, memory = Path(folder) / "tiny.gguf", memory or str(60 * 8192)
            write_tiny_gguf(model, context=1024)
        flags = (*FLAGS, *(() if memory is None else ("--kv-memory", memory)))
        with served(model, Path(folder) / "server", *flags) as server:
            soak = Soak(server, arguments.seconds, arguments.seed)
            asyncio.run(soak.run())
            before, after = soak.check_memory()
            metrics = server.metrics()
            for name in ("preemptions", "prefix_cache_hits", "draft_tokens", "draft_tokens_accepted"):
                print(f"{name}: {metrics.sum(f'gemmule_{name}_total'):.0f}")
    print(", ".join(f"{number} {outcome}" for outcome, number in sorted(soak.outcomes.items())))
    print(f"resident: {before} KiB, then {after} KiB; threads and files as before; blocks conserved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
