"""1,000 mutations of a model's header, metadata and tensor table: each loads or is refused by one line, in bounds."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.end_to_end.load_mutations import EXTREMES

NUM_MUTATIONS = 1000
NUM_PROCESSES = 2
LIMIT_S = 600.0


def outcomes(good: Path, seeds: range) -> dict[int, str]:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.end_to_end.load_mutations",
            good,
            str(seeds[0]),
            str(seeds[-1] + 1),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"status {done.returncode} at {lines[-1:]}; {done.stderr[-3000:]}"
    return {line["seed"]: line["outcome"] for line in lines if "outcome" in line}


def test_mutations(tiny_gguf_of: Callable[..., Path]) -> None:
    good = tiny_gguf_of(num_layers=1)
    share = NUM_MUTATIONS // NUM_PROCESSES
    parts = [range(part * share, (part + 1) * share) for part in range(NUM_PROCESSES)]
    with ThreadPoolExecutor(NUM_PROCESSES) as pool:
        found = {
            seed: said for part in pool.map(lambda seeds: outcomes(good, seeds), parts) for seed, said in part.items()
        }
    assert set(found) == set(range(NUM_MUTATIONS))
    refusals = [said for said in found.values() if said != "loads"]
    assert all("\n" not in said and len(said) < 600 for said in refusals)
    assert 300 < len(refusals) < 1000  # the mutations neither all miss nor all kill


def test_extreme_numbers(tiny_gguf_of: Callable[..., Path]) -> None:
    found = outcomes(tiny_gguf_of(num_layers=1), range(EXTREMES, EXTREMES + 1000))
    assert len(found) > 100
    assert any("to be an integer from 1 to" in said for said in found.values())
    assert "loads" in found.values()
